//! The callers that a starting server allows, and log lines about them.

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

/// The allowed callers. Logs what an operator may not expect.
pub(super) fn callers_in_force(config: &Config, metrics: &Metrics) -> Arc<Callers> {
    log_callers(&config.callers, config.authorize);
    log_socket(config);
    parts::log_setting_warnings(&config.warnings);
    Arc::new(Callers::new(config.callers.clone(), config.authorize, metrics))
}

/// Logs who may call.
fn log_callers(policy: &Policy, mode: Mode) {
    match (policy, mode) {
        (Policy::Open, _) => {
            tracing::warn!("no [callers]: any client that can connect may call every method");
        }
        (Policy::Entries(_), Mode::Observe) => {
            tracing::warn!("calls that [callers] denies are logged and served");
        }
        (Policy::Entries(entries), Mode::Enforce) => {
            tracing::info!(entries = entries.all().len(), "callers are limited to their entries");
        }
    }
}

/// Logs who can open the Unix socket.
fn log_socket(config: &Config) {
    let Some(unix) = config.server.listen.unix() else { return };
    let (mode, group) = (unix.mode, unix.group.as_ref().map(tracing::field::display));
    if config.has_callers() {
        tracing::info!(socket = %unix, %mode, group, "callers on the socket are identified by their user");
    } else {
        tracing::warn!(
            socket = %unix, %mode, group,
            "no [callers]: any user that can open the socket may call every method"
        );
    }
}
