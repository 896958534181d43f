//! Connections, certificates and issuers.

use prometheus_client::metrics::counter::Counter;

use super::{
    Metrics,
    definitions::Definitions,
    labels::{Counters, Counts, Gauges, Resolved, Timestamp, count, unix_seconds},
};
use crate::{clock::WallTime, telemetry::sampled::Sampled};

pub(super) struct Families {
    connections: Sampled,
    handshakes: Counters,
    authentication_failures: Counters,
    issuer_keys_fetched: Gauges,
    certificate_starts: Gauges,
    certificate_ends: Gauges,
    causes: Resolved<Counter>,
    lives: Resolved<(WallTime, Option<WallTime>)>,
}

impl Families {
    pub(super) fn define(define: &mut Definitions) -> Self {
        Self {
            connections: define.plain(
                "grantmint_open_connections",
                "Open connections of callers",
            ),
            handshakes: define.plain(
                "grantmint_handshakes",
                "Connections, by result of their handshake: ok, refused (the client is not authenticated), no_http2, failed, timed_out, or displaced by a newer one",
            ),
            authentication_failures: define.plain(
                "grantmint_authentication_failures",
                "Clients and calls that were not authenticated, by cause",
            ),
            issuer_keys_fetched: define.seconds(
                "grantmint_issuer_keys_fetch_timestamp",
                "When the keys of a bearer token issuer were last fetched, by issuer",
            ),
            certificate_starts: define.seconds(
                "grantmint_certificate_start_timestamp",
                "Start of the validity of a certificate or revocation list: what is server, client_ca, crl or trust_domain/NAME",
            ),
            certificate_ends: define.seconds(
                "grantmint_certificate_end_timestamp",
                "End of the validity of a certificate or revocation list; the first of several to expire",
            ),
            causes: Resolved::default(),
            lives: Resolved::default(),
        }
    }

    pub(super) fn open(&self) -> f64 {
        self.connections.read().unwrap_or_default()
    }

    /// The causes that occurred, with their counts.
    pub(super) fn failures(&self) -> Vec<(String, u64)> {
        let all = self.causes.all().into_iter().map(|(cause, count)| (cause, count.get()));
        all.filter(|(_, count)| *count > 0).collect()
    }

    /// The certificates and revocation lists in force, with start and end of their validity.
    pub(super) fn lives(&self) -> Vec<(String, (WallTime, Option<WallTime>))> {
        self.lives.all()
    }
}

impl Metrics {
    /// Sets where the number of open connections is read.
    pub fn open_connections(&self, read: impl Fn() -> usize + Send + Sync + 'static) {
        self.0.transport.connections.read_from(move || Some(count(read())));
    }

    /// Counts handshakes: `results` are all possible results.
    #[must_use]
    pub fn handshakes(&self, results: &[&'static str]) -> Counts {
        Counts::new(&self.0.transport.handshakes, "result", results)
    }

    /// Counts clients that are not authenticated, by cause: `causes` are all of them.
    #[must_use]
    pub fn authentication_failures(&self, causes: &[&'static str]) -> Counts {
        let families = &self.0.transport;
        let counts = Counts::new(&families.authentication_failures, "cause", causes);
        for (cause, count) in counts.all() {
            families.causes.add(cause, count.clone());
        }
        counts
    }

    /// The handles of one issuer's keys.
    #[must_use]
    pub fn issuer_keys(&self, issuer: &str) -> IssuerMetrics {
        let labels = vec![("issuer", issuer.to_owned())];
        IssuerMetrics { fetched: Timestamp::new(&self.0.transport.issuer_keys_fetched, &labels) }
    }

    /// The certificates and revocation lists in force, each with the start and end of its
    /// validity.
    pub fn certificates(&self, all: impl Iterator<Item = (String, WallTime, Option<WallTime>)>) {
        let families = &self.0.transport;
        let Families { certificate_starts: starts, certificate_ends: ends, .. } = families;
        starts.clear();
        ends.clear();
        families.lives.clear();
        for (what, start, end) in all {
            families.lives.add(&what, (start, end));
            let labels = vec![("what", what)];
            starts.get_or_create_owned(&labels).set(unix_seconds(start));
            if let Some(end) = end {
                ends.get_or_create_owned(&labels).set(unix_seconds(end));
            }
        }
    }
}

/// What the keeper of an issuer's keys records.
#[derive(Debug)]
pub struct IssuerMetrics {
    fetched: Timestamp,
}

impl IssuerMetrics {
    /// Its keys were fetched.
    pub fn fetched(&self, at: WallTime) {
        self.fetched.set(at);
    }
}
