//! Tokens, and the pool for slow signatures.

use std::{sync::Arc, time::Duration};

use prometheus_client::metrics::counter::Counter;

use super::{
    Metrics,
    calls::HANDLING,
    definitions::Definitions,
    labels::{Counters, FloatGauge, Histograms, Resolved, count, of_profile, with},
};
use crate::{
    name::ProfileName,
    telemetry::{
        histogram::{Histogram, Scale},
        sampled::Sampled,
    },
};

/// The validity of tokens: fine steps where it is short. Milliseconds, since many tokens add up.
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

pub(super) struct Families {
    tokens: Counters,
    validity: Histograms,
    waiting_calls: Sampled,
    queue_depth: FloatGauge,
    queue_delay: Histogram,
    threads_busy: FloatGauge,
    profile_tokens: Counters,
    profiles: Arc<Resolved<Counter>>,
    methods: Resolved<MintMetrics>,
}

impl Families {
    /// `upstream_requests` counts the requests of all profiles.
    pub(super) fn define(define: &mut Definitions, upstream_requests: Counter) -> Self {
        let families = Self {
            tokens: define.plain(
                "grantmint_tokens",
                "Tokens minted, and calls for tokens that were refused (the request must change) or unserved (no grant met the request), by method and outcome",
            ),
            validity: define.histograms(
                "grantmint_token_validity",
                "Validity of tokens when they were issued, by method",
                &VALIDITIES,
            ),
            waiting_calls: define
                .plain("grantmint_waiting_calls", "Calls that are waiting for a grant"),
            queue_depth: define.plain(
                "grantmint_signing_queue_depth",
                "Tokens that are waiting for a signing thread (RSA, ES384)",
            ),
            queue_delay: define.histogram(
                "grantmint_signing_queue_delay",
                "Time that a token, or the first of a chunk, waited for a signing thread",
                &HANDLING,
            ),
            threads_busy: define.plain(
                "grantmint_signing_threads_busy",
                "Signing threads that are busy",
            ),
            profile_tokens: define.plain("grantmint_profile_tokens", "Tokens minted, by profile"),
            profiles: Arc::default(),
            methods: Resolved::default(),
        };
        let per_request: Sampled = define.plain(
            "grantmint_tokens_per_upstream_request",
            "Tokens minted per upstream request since the start",
        );
        let profiles = Arc::clone(&families.profiles);
        #[expect(clippy::cast_precision_loss, reason = "an approximate ratio")]
        per_request.read_from(move || {
            let minted: u64 = profiles.all().iter().map(|(_, tokens)| tokens.get()).sum();
            Some(minted as f64 / upstream_requests.get().max(1) as f64)
        });
        families
    }

    /// The minted tokens, and the refused and unserved calls.
    pub(super) fn totals(&self) -> [u64; 3] {
        self.methods.all().iter().fold([0; 3], |[minted, refused, unserved], (_, method)| {
            [
                minted + method.minted.get(),
                refused + method.refused.get(),
                unserved + method.unserved.get(),
            ]
        })
    }

    pub(super) fn by_profile(&self) -> Vec<(String, u64)> {
        self.profiles.all().into_iter().map(|(profile, tokens)| (profile, tokens.get())).collect()
    }

    /// The counts of tokens by validity: upper bound in seconds, none for the last.
    pub(super) fn validities(&self) -> Vec<(Option<f64>, u64)> {
        let bounds = VALIDITIES.bounds.iter().map(|bound| Some(bound.as_secs_f64())).chain([None]);
        let mut sums: Vec<_> = bounds.map(|bound| (bound, 0)).collect();
        for (_, method) in self.methods.all() {
            for ((_, sum), count) in sums.iter_mut().zip(method.validity.counts()) {
                *sum += count;
            }
        }
        sums
    }

    pub(super) fn waiting(&self) -> f64 {
        self.waiting_calls.read().unwrap_or_default()
    }

    /// Queued tokens and busy threads of the signing pool.
    pub(super) fn signing_load(&self) -> (f64, f64) {
        (self.queue_depth.get(), self.threads_busy.get())
    }
}

impl Metrics {
    /// The handles of one minting method.
    #[must_use]
    pub fn minting(&self, method: &str) -> MintMetrics {
        let families = &self.0.minting;
        let labels = vec![("method", method.to_owned())];
        let counter =
            |outcome: &str| families.tokens.get_or_create_owned(&with(&labels, "outcome", outcome));
        let handles = MintMetrics {
            minted: counter("minted"),
            refused: counter("refused"),
            unserved: counter("unserved"),
            validity: families.validity.get_or_create_owned(&labels),
        };
        families.methods.add(method, handles)
    }

    /// The handle of one profile's tokens.
    #[must_use]
    pub fn profile(&self, profile: &ProfileName) -> ProfileMetrics {
        let families = &self.0.minting;
        let tokens = families.profile_tokens.get_or_create_owned(&of_profile(profile));
        ProfileMetrics(families.profiles.add(&profile.to_string(), tokens))
    }

    /// Sets where the number of calls that wait for a grant is read.
    pub fn waiting_calls(&self, read: impl Fn() -> usize + Send + Sync + 'static) {
        self.0.minting.waiting_calls.read_from(move || Some(count(read())));
    }

    /// The handles of the pool for slow signatures.
    #[must_use]
    pub fn signing(&self) -> PoolMetrics {
        let families = &self.0.minting;
        PoolMetrics {
            waiting: families.queue_depth.clone(),
            busy: families.threads_busy.clone(),
            delay: families.queue_delay.clone(),
        }
    }
}

/// What one minting method records.
#[derive(Clone, Debug)]
pub struct MintMetrics {
    minted: Counter,
    refused: Counter,
    unserved: Counter,
    validity: Histogram,
}

impl MintMetrics {
    /// Tokens of `profile` were minted, each with this validity.
    pub fn minted(&self, profile: &ProfileMetrics, tokens: u64, use_within: Duration) {
        self.minted.inc_by(tokens);
        profile.0.inc_by(tokens);
        self.validity.record(use_within, tokens);
    }

    /// A request must change.
    pub fn refused(&self) {
        self.refused.inc();
    }

    /// No grant met the request.
    pub fn unserved(&self) {
        self.unserved.inc();
    }
}

/// Counts the tokens of one profile.
#[derive(Clone, Debug, Default)]
pub struct ProfileMetrics(Counter);

/// What the pool for slow signatures records.
#[derive(Clone, Debug)]
pub struct PoolMetrics {
    waiting: FloatGauge,
    busy: FloatGauge,
    delay: Histogram,
}

impl PoolMetrics {
    /// This many tokens are waiting for a thread.
    #[expect(clippy::cast_precision_loss, reason = "queues are short")]
    pub fn waiting(&self, tokens: usize) {
        self.waiting.set(tokens as f64);
    }

    /// A thread signs.
    pub fn busy(&self) {
        self.busy.inc();
    }

    /// The thread has signed.
    pub fn idle(&self) {
        self.busy.dec();
    }

    /// A token, or the first of a chunk, has waited for a thread.
    pub fn waited(&self, time: Duration) {
        self.delay.record(time, 1);
    }
}
