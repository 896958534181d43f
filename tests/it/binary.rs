//! The real binary.

mod bulk;
mod commands;
mod drain;
mod health;
mod metrics;
mod outage;
mod refusals;
mod resume;
mod secrets;
