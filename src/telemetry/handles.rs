//! What each part of the server records with: resolved once, and cheap ever after.

use std::{
    sync::{OnceLock, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

use super::histogram::Histogram;
use crate::clock::WallTime;

/// Names and values of a metric's labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// Instants, in seconds since the Unix epoch.
pub(super) type Timestamps = Family<Labels, Gauge<f64, AtomicU64>>;

/// Numbers that go up and down.
pub(super) type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// What one grant's keeper records.
#[derive(Debug)]
pub struct GrantMetrics {
    pub(super) attempts: Vec<(&'static str, Counter)>,
    pub(super) fetched: Timestamp,
    pub(super) end: Timestamp,
    pub(super) next_attempt: Timestamp,
}

impl GrantMetrics {
    /// An attempt ended with this result, one of those that the handles were resolved for.
    pub fn attempted(&self, result: &str) {
        if let Some((_, count)) = self.attempts.iter().find(|(name, _)| *name == result) {
            count.inc();
        }
    }

    /// A grant was published.
    pub fn fresh(&self, fetched: WallTime, end: WallTime) {
        self.fetched.set(fetched);
        self.end.set(end);
    }

    /// The next attempt is planned.
    pub fn next_attempt(&self, at: WallTime) {
        self.next_attempt.set(at);
    }
}

/// What the keeper of an issuer's keys records.
#[derive(Debug)]
pub struct IssuerMetrics {
    pub(super) fetched: Timestamp,
}

impl IssuerMetrics {
    /// Its keys were fetched.
    pub fn fetched(&self, at: WallTime) {
        self.fetched.set(at);
    }
}

/// An instant that is not on the page before it is known: 0 would be 1970.
#[derive(Debug)]
pub(super) struct Timestamp {
    family: Timestamps,
    labels: Labels,
    gauge: OnceLock<Gauge<f64, AtomicU64>>,
}

impl Timestamp {
    pub(super) fn new(family: &Timestamps, labels: &Labels) -> Self {
        Self { family: family.clone(), labels: labels.clone(), gauge: OnceLock::new() }
    }

    fn set(&self, at: WallTime) {
        let gauge = self.gauge.get_or_init(|| self.family.get_or_create_owned(&self.labels));
        gauge.set(seconds(at));
    }
}

/// Seconds since the Unix epoch.
#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit for centuries")]
pub(super) fn seconds(at: WallTime) -> f64 {
    at.unix_micros() as f64 / 1e6
}

/// What one profile's source records.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    pub(super) of_profile: Counter,
    pub(super) of_all: Counter,
    pub(super) took: Histogram,
}

impl UpstreamMetrics {
    /// A request was sent.
    pub fn sent(&self) {
        self.of_profile.inc();
        self.of_all.inc();
    }

    /// A request was answered, or given up, after that long.
    pub fn ended(&self, took: Duration) {
        self.took.record(took, 1);
    }
}

/// What one minting method records.
#[derive(Clone, Debug)]
pub struct MintMetrics {
    pub(super) minted: Counter,
    pub(super) refused: Counter,
    pub(super) unserved: Counter,
    pub(super) of_all: Counter,
    pub(super) validity: Histogram,
}

impl MintMetrics {
    /// Tokens were minted, each of them to be used within that time.
    pub fn minted(&self, tokens: u64, use_within: Duration) {
        self.minted.inc_by(tokens);
        self.of_all.inc_by(tokens);
        self.validity.record(use_within, tokens);
    }

    /// A request must change.
    pub fn refused(&self) {
        self.refused.inc();
    }

    /// No grant would do.
    pub fn unserved(&self) {
        self.unserved.inc();
    }
}

/// What the pool of slow signatures records.
#[derive(Clone, Debug)]
pub struct PoolMetrics {
    pub(super) waiting: Gauge<f64, AtomicU64>,
    pub(super) busy: Gauge<f64, AtomicU64>,
    pub(super) delay: Histogram,
}

impl PoolMetrics {
    /// So many tokens wait for a thread.
    #[expect(clippy::cast_precision_loss, reason = "nobody counts so many")]
    pub fn waiting(&self, tokens: usize) {
        self.waiting.set(tokens as f64);
    }

    /// A thread signs.
    pub fn busy(&self) {
        self.busy.inc();
    }

    /// It has signed.
    pub fn idle(&self) {
        self.busy.dec();
    }

    /// A token, or the first of a chunk, has waited for a thread.
    pub fn waited(&self, time: Duration) {
        self.delay.record(time, 1);
    }
}

/// What one part of the configuration that is reloaded records.
#[derive(Clone, Debug)]
pub struct ReloadMetrics {
    pub(super) reloaded: Counter,
    pub(super) failed: Counter,
    pub(super) failing: Gauge<f64, AtomicU64>,
}

impl ReloadMetrics {
    /// What changed is in force.
    pub fn reloaded(&self) {
        self.reloaded.inc();
    }

    /// What changed is not taken.
    pub fn failed(&self) {
        self.failed.inc();
    }

    /// Whether what is in the files is not what is in force.
    pub fn failing(&self, failing: bool) {
        self.failing.set(f64::from(u8::from(failing)));
    }
}

/// What is recorded of the callers of one entry.
#[derive(Clone, Debug)]
pub struct CallerMetrics {
    pub(super) one: Counter,
    pub(super) many: Counter,
    pub(super) refusals: Vec<(&'static str, &'static str, Counter)>,
}

impl CallerMetrics {
    /// A token was minted by itself.
    pub fn minted_one(&self) {
        self.one.inc();
    }

    /// Tokens were minted in bulk.
    pub fn minted_many(&self, tokens: u64) {
        self.many.inc_by(tokens);
    }

    /// A call was refused, or would be, for this reason in this mode: both are of those that the
    /// handles were resolved for.
    pub fn refused(&self, reason: &str, mode: &str) {
        let mut refusals = self.refusals.iter();
        if let Some((_, _, count)) = refusals.find(|it| (it.0, it.1) == (reason, mode)) {
            count.inc();
        }
    }
}

/// What one RPC records.
#[derive(Clone, Debug)]
pub struct RpcMetrics {
    pub(super) started: Counter,
    pub(super) handled: Vec<Counter>,
    pub(super) took: Histogram,
}

impl RpcMetrics {
    /// A call began.
    pub fn started(&self) {
        self.started.inc();
    }

    /// A call ended with the code of this index, after that long.
    pub fn handled(&self, code: usize, took: Duration) {
        if let Some(counter) = self.handled.get(code) {
            counter.inc();
        }
        self.took.record(took, 1);
    }
}

/// Counts events by sort: all sorts are resolved beforehand, and on the page from the start.
#[derive(Debug)]
pub struct Counts(pub(super) Vec<(&'static str, Counter)>);

impl Counts {
    /// One event, of one of the sorts that were resolved.
    pub fn add(&self, sort: &str) {
        if let Some((_, count)) = self.0.iter().find(|(name, _)| *name == sort) {
            count.inc();
        }
    }
}

/// The counts of records of the audit log.
#[derive(Clone, Debug)]
pub struct AuditMetrics {
    pub(super) written: Counter,
    pub(super) dropped: Counter,
    pub(super) refused: Counter,
}

impl AuditMetrics {
    /// So many were written.
    pub fn written(&self, records: u64) {
        self.written.inc_by(records);
    }

    /// There was no room for one.
    pub fn dropped(&self) {
        self.dropped.inc();
    }

    /// Nothing was minted, since there was no room for its record or writing failed.
    pub fn refused(&self) {
        self.refused.inc();
    }
}

/// What is recorded of calls that a connection cuts.
#[derive(Clone, Debug)]
pub struct CutMetrics {
    pub(super) stalled: Counter,
    pub(super) unread: Counter,
    pub(super) grace: Counter,
}

impl CutMetrics {
    /// A call was reset: its client kept the window closed.
    pub fn stalled(&self) {
        self.stalled.inc();
    }

    /// As many calls ended with a connection whose client read too slowly.
    pub fn unread(&self, calls: usize) {
        self.unread.inc_by(calls as u64);
    }

    /// As many calls were open when their connection's grace ended.
    pub fn grace(&self, calls: usize) {
        self.grace.inc_by(calls as u64);
    }
}
