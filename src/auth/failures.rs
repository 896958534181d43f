//! Clients and calls that are not authenticated: counted all, logged once a minute by address
//! and cause.

use std::{fmt, net::IpAddr};

use crate::{
    listen::log_limit::LogLimit,
    telemetry::{Counts, Metrics},
};

/// Counts and logs what is not authenticated.
pub struct Failures {
    counts: Counts,
    log_limit: LogLimit,
}

impl Failures {
    /// Of these causes.
    #[must_use]
    pub fn new(metrics: &Metrics, causes: &[&'static str]) -> Self {
        let counts = metrics.authentication_failures(causes);
        Self { counts, log_limit: LogLimit::default() }
    }

    /// Records one, with the name that it claims.
    pub fn record(&self, from: IpAddr, cause: &'static str, claim: &str) {
        self.counts.add(cause);
        if self.log_limit.since_logged(from, cause).is_some() {
            let address = from.to_canonical();
            tracing::warn!(%address, cause, name = claim, "a client is not authenticated");
        }
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Failures")
    }
}
