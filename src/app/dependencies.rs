//! What a server waits for before it is ready, besides its grants.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    audit::Audit,
    auth::{
        bearer::{Fetches, Issuer},
        policy::{Mode, Policy},
    },
    clock::{Anchor, Clock},
    config::Config,
    ready::{Dependency, Ready},
    telemetry::Metrics,
    tls::{Certificate, Tls, WorkloadApi},
};

/// The line of `/readyz` with `authorize = "observe"`.
const ONLY_OBSERVED: &str = "calls that [callers] denies are logged and served";

/// Adds notes for the operator about this configuration.
pub(super) fn with_notes(ready: Ready, config: &Config, audit: Option<Audit>) -> Ready {
    let mut ready = ready;
    if let (Policy::Entries(_), Mode::Observe) = (&config.callers, config.authorize) {
        ready = ready.noting(|| Some(ONLY_OBSERVED.to_owned()));
    }
    if let Some(audit) = audit {
        ready = ready.noting(move || audit.problem());
    }
    ready
}

/// The Workload API that sends the server's certificate; none if it is in files.
pub(super) fn workload_api(
    config: &Config,
    tls: Option<&Arc<Tls>>,
    clock: &Clock,
    metrics: &Metrics,
    audit: Option<&Audit>,
) -> Option<Arc<WorkloadApi>> {
    match (&config.tls.as_ref()?.config.certificate, tls) {
        (Certificate::WorkloadApi(agent), Some(tls)) => {
            let (tls, metrics) = (Arc::clone(tls), metrics.reload("workload_api"));
            let clock = clock.clone();
            let api = WorkloadApi::new(agent.clone(), tls, clock, metrics, audit.cloned());
            Some(Arc::new(api))
        }
        _ => None,
    }
}

impl Dependency for WorkloadApi {
    fn has_arrived(&self) -> bool {
        self.has_svid()
    }

    fn line(&self, now: Anchor) -> String {
        self.line(now.wall)
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changes()
    }
}

impl Dependency for Issuer {
    fn has_arrived(&self) -> bool {
        self.was_known()
    }

    fn line(&self, now: Anchor) -> String {
        let state = match (self.keys(), self.was_known()) {
            (Some(keys), _) => format!("{keys} keys"),
            (None, false) => "no keys yet".to_owned(),
            (None, true) => "no valid keys: fetching them has failed for a day".to_owned(),
        };
        let Fetches { succeeded, failure } = self.fetches();
        let age = succeeded.map(|at| format!(", fetched {} s ago", now.boot.since(at).as_secs()));
        let failure = failure.map(|failure| format!("; the last fetch failed: {failure}"));
        let (age, failure) = (age.unwrap_or_default(), failure.unwrap_or_default());
        format!("issuers/{}: {state}{age}{failure}", self.name())
    }

    fn changes(&self) -> watch::Receiver<()> {
        self.changes()
    }
}
