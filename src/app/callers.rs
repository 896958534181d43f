//! Who may call a server that starts, and what the log says of that.

use std::sync::Arc;

use super::parts;
use crate::{
    auth::{
        callers::Callers,
        policy::{Mode, Policy},
    },
    config::Config,
    telemetry::Metrics,
};

/// Who may call; what a person may not expect of that is logged.
pub(super) fn held_callers(config: &Config, metrics: &Metrics) -> Arc<Callers> {
    log_callers(&config.callers, config.authorize);
    log_socket(config);
    parts::log_remarks(&config.remarks);
    Arc::new(Callers::new(config.callers.clone(), config.authorize, metrics))
}

/// Logs who may call, where that is more than a person may expect.
fn log_callers(policy: &Policy, mode: Mode) {
    match (policy, mode) {
        (Policy::Open, _) => {
            tracing::warn!("whoever can connect may call every method: there is no [callers]");
        }
        (Policy::Entries(_), Mode::Observe) => {
            tracing::warn!("what callers are not allowed is only observed, and served");
        }
        (Policy::Entries(entries), Mode::Enforce) => {
            tracing::info!(entries = entries.all().len(), "callers are held to their entries");
        }
    }
}

/// Logs who can open the Unix socket.
fn log_socket(config: &Config) {
    let Some(unix) = config.server.listen.unix() else { return };
    let (mode, group) = (unix.mode, unix.group.as_ref().map(tracing::field::display));
    if config.has_callers() {
        tracing::info!(socket = %unix, %mode, group, "callers of the socket are known by their user");
    } else {
        tracing::warn!(
            socket = %unix, %mode, group,
            "whoever can open the socket may call every method: there is no [callers]"
        );
    }
}
