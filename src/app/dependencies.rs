//! What a server needs from elsewhere before it is ready, beside its grants.

use tokio::sync::watch;

use crate::{
    auth::bearer::{Fetches, Issuer},
    clock::Anchor,
    ready::Dependency,
    tls::WorkloadApi,
};

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
