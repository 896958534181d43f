//! The numbers that the status page shows, read from the metrics.

use serde::Serialize;

use super::Metrics;
use crate::clock::WallTime;

/// Some of the metrics at one instant. Counts are since the start.
#[derive(Clone, Debug, Serialize)]
pub struct Numbers {
    /// Tokens minted.
    pub tokens: u64,
    /// Calls for tokens that must change.
    pub refused: u64,
    /// Calls for tokens that no grant met.
    pub unserved: u64,
    /// Requests sent to all upstreams.
    pub upstream_requests: u64,
    /// Tokens by profile.
    #[serde(skip)]
    pub profiles: Vec<(String, u64)>,
    /// Tokens by validity when issued: the inclusive upper bound in seconds, none for the last, and
    /// the count.
    pub validity: Vec<(Option<f64>, u64)>,
    /// Calls that wait for a grant.
    pub waiting_calls: f64,
    /// Caller entries.
    pub callers: Vec<CallerNumbers>,
    /// Clients and calls that were not authenticated, by cause.
    pub authentication_failures: Vec<(String, u64)>,
    /// Open connections of callers.
    pub connections: f64,
    /// Tokens that wait for a signing thread.
    pub signing_queue: f64,
    /// Signing threads that are busy.
    pub signing_busy: f64,
    /// Certificates and revocation lists in force: what it is, and the start and end of its validity
    /// in seconds since the Unix epoch.
    pub certificates: Vec<(String, i64, Option<i64>)>,
}

/// One caller entry.
#[derive(Clone, Debug, Serialize)]
pub struct CallerNumbers {
    /// The entry's name.
    pub caller: String,
    /// Tokens minted for it.
    pub tokens: u64,
    /// Refusals by reason and mode.
    pub refusals: Vec<(&'static str, &'static str, u64)>,
}

impl Metrics {
    /// The numbers of the status page.
    #[must_use]
    pub fn numbers(&self) -> Numbers {
        let super::Inner { minting, callers, grants, transport, .. } = &*self.0;
        let [tokens, refused, unserved] = minting.totals();
        let (signing_queue, signing_busy) = minting.signing_load();
        let lives = transport.lives().into_iter();
        Numbers {
            tokens,
            refused,
            unserved,
            upstream_requests: grants.upstream_requests(),
            profiles: minting.by_profile(),
            validity: minting.validities(),
            waiting_calls: minting.waiting(),
            callers: callers.entries(),
            authentication_failures: transport.failures(),
            connections: transport.open(),
            signing_queue,
            signing_busy,
            certificates: lives
                .map(|(what, (start, end))| {
                    (what, start.unix_seconds(), end.map(WallTime::unix_seconds))
                })
                .collect(),
        }
    }
}
