//! The process: its start, its version, reloads of its configuration and its shutdown.

use prometheus_client::metrics::{counter::Counter, info::Info};

use super::{
    Metrics,
    definitions::Definitions,
    labels::{Counters, FloatGauge, Gauges, unix_seconds, with},
};
use crate::{clock::WallTime, telemetry::sampled::Sampled};

pub(super) struct Families {
    reloads: Counters,
    reload_failing: Gauges,
    ready: Sampled,
    drain_phase: Sampled,
    started: Sampled,
}

impl Families {
    pub(super) fn define(define: &mut Definitions) -> Self {
        let reloads = define.plain(
            "grantmint_reloads",
            "Changes of configuration files that were applied (ok) or not (failed), by part",
        );
        let reload_failing = define.plain(
            "grantmint_reload_failing",
            "Whether a part's files cannot be applied: 1, else 0",
        );
        let ready =
            define.plain("grantmint_ready", "Whether this replica is ready for calls: 1, else 0");
        let drain_phase = define.plain(
            "grantmint_drain_phase",
            "Shutdown phase: 0 serving, 1 leaving, 2 draining, 3 closing",
        );
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        define.info("grantmint_build", "Version of the running binary", build);
        let started = define.seconds("process_start_time", "When the process started");
        Self { reloads, reload_failing, ready, drain_phase, started }
    }
}

impl Metrics {
    /// The process started at `at`.
    pub fn started(&self, at: WallTime) {
        self.0.process.started.read_from(move || Some(unix_seconds(at)));
    }

    /// Sets where it is read whether this replica is ready.
    pub fn ready(&self, read: impl Fn() -> bool + Send + Sync + 'static) {
        self.0.process.ready.read_from(move || Some(f64::from(u8::from(read()))));
    }

    /// Sets where the phase of the drain is read, as its number.
    pub fn drain_phase(&self, read: impl Fn() -> u8 + Send + Sync + 'static) {
        self.0.process.drain_phase.read_from(move || Some(f64::from(read())));
    }

    /// The handles of one part of the configuration that is reloaded.
    #[must_use]
    pub fn reload(&self, what: &str) -> ReloadMetrics {
        let Families { reloads, reload_failing, .. } = &self.0.process;
        let labels = vec![("what", what.to_owned())];
        let count = |result| reloads.get_or_create_owned(&with(&labels, "result", result));
        ReloadMetrics {
            reloaded: count("ok"),
            failed: count("failed"),
            failing: reload_failing.get_or_create_owned(&labels),
        }
    }
}

/// What one part of the configuration that is reloaded records.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    reloaded: Counter,
    failed: Counter,
    failing: FloatGauge,
}

impl ReloadMetrics {
    /// A change of its files is in force.
    pub fn reloaded(&self) {
        self.reloaded.inc();
    }

    /// A change of its files was not applied.
    pub fn failed(&self) {
        self.failed.inc();
    }

    /// Whether its files differ from what is in force.
    pub fn failing(&self, failing: bool) {
        self.failing.set(f64::from(u8::from(failing)));
    }
}
