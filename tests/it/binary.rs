//! The real binary.

mod bench;
mod bulk;
mod commands;
mod descriptors;
mod drain;
mod egress;
mod environment;
mod health;
mod host;
mod inspect;
mod machines;
mod metrics;
mod outage;
mod pipes;
mod refusals;
mod resume;
mod scenario;
mod secrets;
mod signals;
mod watch;
