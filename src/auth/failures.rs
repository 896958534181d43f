//! Records authentication failures: all are counted, one a minute per address and cause is logged,
//! and the audit log gets sums.

use std::fmt;

use crate::{
    audit::Audit,
    listen::{log_limit::LogLimit, remote::Remote},
    telemetry::{Counts, Metrics},
};

/// Records authentication failures.
pub struct Failures {
    counts: Counts,
    log_limit: LogLimit,
    audit: Option<Audit>,
}

impl Failures {
    /// Creates a recorder for these causes.
    #[must_use]
    pub fn new(metrics: &Metrics, causes: &[&'static str], audit: Option<Audit>) -> Self {
        let counts = metrics.authentication_failures(causes);
        Self { counts, log_limit: LogLimit::default(), audit }
    }

    /// Records a failure, with the name that the client claims.
    pub fn record(&self, from: Remote, cause: &'static str, claim: &str) {
        self.counts.add(cause);
        if let Some(audit) = &self.audit {
            audit.unauthenticated(from, cause);
        }
        if self.log_limit.since_logged(from, cause).is_some() {
            tracing::warn!(address = %from, cause, name = claim, "client authentication failed");
        }
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Failures")
    }
}
