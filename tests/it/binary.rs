//! The real binary.

mod bulk;
mod commands;
mod drain;
mod health;
mod inspect;
mod machines;
mod outage;
mod refusals;
mod resume;
mod secrets;
mod watch;
