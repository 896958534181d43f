//! A real Prometheus with the real binary: scrapes, alert rules and the dashboard's queries.

mod alerts;
mod dashboard;
mod names;
mod scrapes;
mod server;

pub(crate) use self::server::tool;
