//! Clients and calls that are not authenticated: counted all, logged once a minute by address
//! and cause, and summed in the audit log.

use std::fmt;

use crate::{
    audit::Audit,
    listen::{log_limit::LogLimit, remote::Remote},
    telemetry::{Counts, Metrics},
};

/// Records what is not authenticated.
pub struct Failures {
    counts: Counts,
    log_limit: LogLimit,
    audit: Option<Audit>,
}

impl Failures {
    /// Of these causes.
    #[must_use]
    pub fn new(metrics: &Metrics, causes: &[&'static str], audit: Option<Audit>) -> Self {
        let counts = metrics.authentication_failures(causes);
        Self { counts, log_limit: LogLimit::default(), audit }
    }

    /// Records one, with the name that it claims.
    pub fn record(&self, from: Remote, cause: &'static str, claim: &str) {
        self.counts.add(cause);
        if let Some(audit) = &self.audit {
            audit.unauthenticated(from, cause);
        }
        if self.log_limit.since_logged(from, cause).is_some() {
            tracing::warn!(address = %from, cause, name = claim, "a client is not authenticated");
        }
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Failures")
    }
}
