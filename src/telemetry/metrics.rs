//! The metrics of one process, and the handles that its parts record with.

mod register;

use std::{
    fmt,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::{
    metrics::{
        counter::Counter,
        family::{Family, MetricConstructor},
        gauge::Gauge,
    },
    registry::Registry,
};

use super::{
    format::MetricsFormat,
    handles::{
        AuditMetrics, CallerMetrics, Counts, CutMetrics, Gauges, GrantMetrics, IssuerMetrics,
        Labels, MintMetrics, PoolMetrics, ReloadMetrics, RpcMetrics, Timestamp, Timestamps,
        UpstreamMetrics, seconds,
    },
    histogram::{Histogram, Scale},
    resource_names::ResourceNames,
    sampled::Sampled,
};
use crate::{
    clock::WallTime,
    name::{GrantName, ProfileName},
};

type Counters = Family<Labels, Counter>;
type Histograms = Family<Labels, Histogram, &'static Scale>;

/// The validity of tokens: fine where it gets scarce. Milliseconds, since many tokens add up.
static VALIDITIES: Scale = Scale {
    bounds: &[
        Duration::from_secs(1),
        Duration::from_secs(2),
        Duration::from_secs(4),
        Duration::from_secs(6),
        Duration::from_secs(8),
        Duration::from_secs(10),
        Duration::from_secs(15),
        Duration::from_secs(20),
        Duration::from_secs(30),
        Duration::from_secs(45),
        Duration::from_secs(60),
        Duration::from_secs(120),
        Duration::from_secs(600),
        Duration::from_secs(3_600),
        Duration::from_secs(86_400),
    ],
    ticks_a_second: 1_000,
};

/// Upstream requests: they are given up after 2 s, and the end of that is in the last bucket.
static UPSTREAM: Scale = Scale {
    bounds: &[
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(1_500),
        Duration::from_secs(2),
        Duration::from_millis(2_500),
    ],
    ticks_a_second: 1_000_000,
};

/// Calls: minting takes microseconds, waiting for a grant up to 10 s.
static HANDLING: Scale = Scale {
    bounds: &[
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_micros(2_500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2_500),
        Duration::from_secs(5),
        Duration::from_secs(10),
    ],
    ticks_a_second: 1_000_000,
};

/// All metrics of one process.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    resource_names: ResourceNames,
    tokens: Counters,
    validities: Histograms,
    waiting_calls: Sampled,
    signing_waiting: Gauge<f64, AtomicU64>,
    signing_busy: Gauge<f64, AtomicU64>,
    signing_delays: Histogram,
    caller_tokens: Counters,
    caller_refusals: Counters,
    calls_started: Counters,
    calls_handled: Counters,
    handling: Histograms,
    streams_cut: Counters,
    refreshes: Counters,
    fetched: Timestamps,
    ends: Timestamps,
    next_attempts: Timestamps,
    upstream_requests: Counters,
    upstream: Histograms,
    upstream_skews: Family<Labels, Sampled>,
    connections: Sampled,
    reloads: Counters,
    reload_failing: Gauges,
    handshakes: Counters,
    authentication_failures: Counters,
    audit_records: Counters,
    issuer_keys_fetched: Timestamps,
    certificate_starts: Timestamps,
    certificate_ends: Timestamps,
    drain_phase: Sampled,
    audit_failing: Sampled,
    started: Sampled,
    minted: Counter,
    requested: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::naming(ResourceNames::default())
    }
}

impl Metrics {
    /// Metrics whose resources are written like this.
    #[must_use]
    pub fn naming(resource_names: ResourceNames) -> Self {
        let mut inner = Inner {
            registry: Registry::default(),
            resource_names,
            tokens: Counters::default(),
            validities: Histograms::new_with_constructor(&VALIDITIES),
            waiting_calls: Sampled::default(),
            signing_waiting: Gauge::default(),
            signing_busy: Gauge::default(),
            signing_delays: (&HANDLING).new_metric(),
            caller_tokens: Counters::default(),
            caller_refusals: Counters::default(),
            calls_started: Counters::default(),
            calls_handled: Counters::default(),
            handling: Histograms::new_with_constructor(&HANDLING),
            streams_cut: Counters::default(),
            refreshes: Counters::default(),
            fetched: Timestamps::default(),
            ends: Timestamps::default(),
            next_attempts: Timestamps::default(),
            upstream_requests: Counters::default(),
            upstream: Histograms::new_with_constructor(&UPSTREAM),
            upstream_skews: Family::default(),
            connections: Sampled::default(),
            reloads: Counters::default(),
            reload_failing: Gauges::default(),
            handshakes: Counters::default(),
            authentication_failures: Counters::default(),
            audit_records: Counters::default(),
            issuer_keys_fetched: Timestamps::default(),
            certificate_starts: Timestamps::default(),
            certificate_ends: Timestamps::default(),
            drain_phase: Sampled::default(),
            audit_failing: Sampled::default(),
            started: Sampled::default(),
            minted: Counter::default(),
            requested: Counter::default(),
        };
        inner.register_minting();
        inner.register_callers();
        inner.register_calls();
        inner.register_grants();
        inner.register_transport();
        inner.register_process();
        Self(Arc::new(inner))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Metrics {
    /// All metrics in this format.
    #[must_use]
    pub fn render(&self, format: MetricsFormat) -> String {
        format.render(&self.0.registry)
    }

    /// The process started then.
    pub fn started(&self, at: WallTime) {
        self.0.started.read_from(move || Some(seconds(at)));
    }

    /// Where the number of calls that wait for a grant is read.
    pub fn waiting_calls(&self, read: impl Fn() -> usize + Send + Sync + 'static) {
        self.0.waiting_calls.read_from(move || Some(count(read())));
    }

    /// The handles of the pool that makes slow signatures.
    #[must_use]
    pub fn signing(&self) -> PoolMetrics {
        PoolMetrics {
            waiting: self.0.signing_waiting.clone(),
            busy: self.0.signing_busy.clone(),
            delay: self.0.signing_delays.clone(),
        }
    }

    /// Where the number of open connections is read.
    pub fn open_connections(&self, read: impl Fn() -> usize + Send + Sync + 'static) {
        self.0.connections.read_from(move || Some(count(read())));
    }

    /// Counts how connections begin: `results` are all the ways.
    #[must_use]
    pub fn handshakes(&self, results: &[&'static str]) -> Counts {
        counts(&self.0.handshakes, "result", results)
    }

    /// The handles of the audit log.
    #[must_use]
    pub fn audit(&self) -> AuditMetrics {
        let count = |outcome: &str| {
            self.0.audit_records.get_or_create_owned(&vec![("outcome", outcome.to_owned())])
        };
        AuditMetrics {
            written: count("written"),
            dropped: count("dropped"),
            refused: count("refused"),
        }
    }

    /// Where it is read whether records of the audit log cannot be written.
    pub fn audit_failing(&self, read: impl Fn() -> bool + Send + Sync + 'static) {
        self.0.audit_failing.read_from(move || Some(f64::from(u8::from(read()))));
    }

    /// Counts clients that are not authenticated: `causes` are all that there are.
    #[must_use]
    pub fn authentication_failures(&self, causes: &[&'static str]) -> Counts {
        counts(&self.0.authentication_failures, "cause", causes)
    }

    /// The handles of one issuer's keys.
    #[must_use]
    pub fn issuer_keys(&self, issuer: &str) -> IssuerMetrics {
        let labels = vec![("issuer", issuer.to_owned())];
        IssuerMetrics { fetched: Timestamp::new(&self.0.issuer_keys_fetched, &labels) }
    }

    /// The certificates and lists in force, each with the time that it is valid from and to.
    pub fn certificates(&self, all: impl Iterator<Item = (String, WallTime, Option<WallTime>)>) {
        self.0.certificate_starts.clear();
        self.0.certificate_ends.clear();
        for (what, start, end) in all {
            let labels = vec![("what", what)];
            self.0.certificate_starts.get_or_create_owned(&labels).set(seconds(start));
            if let Some(end) = end {
                self.0.certificate_ends.get_or_create_owned(&labels).set(seconds(end));
            }
        }
    }

    /// Where the phase of the drain is read, as its number.
    pub fn drain_phase(&self, read: impl Fn() -> u8 + Send + Sync + 'static) {
        self.0.drain_phase.read_from(move || Some(f64::from(read())));
    }

    /// Where it is read how many seconds the upstream's clock is ahead; none before an answer.
    pub fn upstream_clock_skew(
        &self,
        profile: &ProfileName,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        self.0.upstream_skews.get_or_create_owned(&of_profile(profile)).read_from(read);
    }

    /// The handles of one grant: `results` are all that its attempts can end with.
    #[must_use]
    pub fn grant(
        &self,
        name: &GrantName,
        results: impl Iterator<Item = &'static str>,
    ) -> GrantMetrics {
        let resource = self.0.resource_names.write(&name.resource);
        let labels = vec![("profile", name.profile.to_string()), ("resource", resource)];
        let attempts = results.map(|result| {
            let labels = with(&labels, "result", result);
            (result, self.0.refreshes.get_or_create_owned(&labels))
        });
        GrantMetrics {
            attempts: attempts.collect(),
            fetched: Timestamp::new(&self.0.fetched, &labels),
            end: Timestamp::new(&self.0.ends, &labels),
            next_attempt: Timestamp::new(&self.0.next_attempts, &labels),
        }
    }

    /// The handles for requests that one profile sends.
    #[must_use]
    pub fn upstream(&self, profile: &ProfileName) -> UpstreamMetrics {
        let labels = of_profile(profile);
        UpstreamMetrics {
            of_profile: self.0.upstream_requests.get_or_create_owned(&labels),
            of_all: self.0.requested.clone(),
            took: self.0.upstream.get_or_create_owned(&labels),
        }
    }

    /// The handles of one part of the configuration that is reloaded.
    #[must_use]
    pub fn reload(&self, what: &str) -> ReloadMetrics {
        let labels = vec![("what", what.to_owned())];
        let count = |result| self.0.reloads.get_or_create_owned(&with(&labels, "result", result));
        ReloadMetrics {
            reloaded: count("ok"),
            failed: count("failed"),
            failing: self.0.reload_failing.get_or_create_owned(&labels),
        }
    }

    /// The handles of one minting method.
    #[must_use]
    pub fn minting(&self, method: &str) -> MintMetrics {
        let labels = vec![("method", method.to_owned())];
        let counter =
            |outcome: &str| self.0.tokens.get_or_create_owned(&with(&labels, "outcome", outcome));
        MintMetrics {
            minted: counter("minted"),
            refused: counter("refused"),
            unserved: counter("unserved"),
            of_all: self.0.minted.clone(),
            validity: self.0.validities.get_or_create_owned(&labels),
        }
    }

    /// The handles of the callers of one entry: `reasons` are all that they can be refused for,
    /// `modes` all that can come of it.
    #[must_use]
    pub fn caller(
        &self,
        entry: &str,
        reasons: &[&'static str],
        modes: &[&'static str],
    ) -> CallerMetrics {
        let labels = vec![("caller", entry.to_owned())];
        let tokens =
            |method| self.0.caller_tokens.get_or_create_owned(&with(&labels, "method", method));
        let refusals = modes.iter().flat_map(|mode| reasons.iter().map(move |it| (*it, *mode)));
        let refusals = refusals.map(|(reason, mode)| {
            let labels = with(&with(&labels, "reason", reason), "mode", mode);
            (reason, mode, self.0.caller_refusals.get_or_create_owned(&labels))
        });
        CallerMetrics {
            one: tokens("MintToken"),
            many: tokens("MintTokens"),
            refusals: refusals.collect(),
        }
    }

    /// The handles of calls that are cut.
    #[must_use]
    pub fn streams_cut(&self) -> CutMetrics {
        let counter = |cause: &str| {
            let labels = vec![("cause", cause.to_owned())];
            self.0.streams_cut.get_or_create_owned(&labels)
        };
        CutMetrics {
            stalled: counter("stalled"),
            unread: counter("unread"),
            grace: counter("grace"),
        }
    }

    /// The handles of one RPC: `codes` are all the names that its calls can end with.
    #[must_use]
    pub fn rpc(&self, kind: &str, service: &str, method: &str, codes: &[&str]) -> RpcMetrics {
        let labels = vec![
            ("grpc_type", kind.to_owned()),
            ("grpc_service", service.to_owned()),
            ("grpc_method", method.to_owned()),
        ];
        let handled = codes.iter().map(|code| {
            self.0.calls_handled.get_or_create_owned(&with(&labels, "grpc_code", code))
        });
        RpcMetrics {
            handled: handled.collect(),
            started: self.0.calls_started.get_or_create_owned(&labels),
            took: self.0.handling.get_or_create_owned(&labels),
        }
    }
}

fn counts(family: &Counters, label: &'static str, sorts: &[&'static str]) -> Counts {
    let counter = |sort: &&'static str| {
        (*sort, family.get_or_create_owned(&vec![(label, (*sort).to_owned())]))
    };
    Counts(sorts.iter().map(counter).collect())
}

fn of_profile(profile: &ProfileName) -> Labels {
    vec![("profile", profile.to_string())]
}

fn with(labels: &Labels, name: &'static str, value: &str) -> Labels {
    let mut labels = labels.clone();
    labels.push((name, value.to_owned()));
    labels
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}
