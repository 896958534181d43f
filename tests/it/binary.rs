//! The real binary.

mod admin;
mod allowed;
mod bench;
pub(crate) mod bulk;
mod commands;
mod descriptors;
mod drain;
mod egress;
mod environment;
mod field;
mod fleet;
mod health;
mod host;
mod inspect;
mod machines;
pub(crate) mod metrics;
mod outage;
mod pipes;
mod refusals;
mod reload;
mod resume;
mod rollout;
mod scenario;
mod scrape;
mod secrets;
mod signals;
mod watch;
