//! The real binary.

mod bench;
mod bulk;
mod commands;
mod descriptors;
mod drain;
mod egress;
mod health;
mod host;
mod inspect;
mod machines;
mod metrics;
mod outage;
mod refusals;
mod resume;
mod scenario;
mod secrets;
mod watch;
