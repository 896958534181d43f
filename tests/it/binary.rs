//! The real binary.

mod bulk;
mod commands;
mod drain;
mod health;
mod host;
mod outage;
mod refusals;
mod resume;
mod scenario;
mod secrets;
