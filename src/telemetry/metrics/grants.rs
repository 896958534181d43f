//! Grants and their upstreams.

use std::time::Duration;

use prometheus_client::metrics::{counter::Counter, family::Family};

use super::{
    Metrics,
    definitions::Definitions,
    labels::{Counters, Gauges, Histograms, Labels, Timestamp, of_profile, with},
};
use crate::{
    clock::WallTime,
    name::{GrantName, ProfileName},
    telemetry::{
        histogram::{Histogram, Scale},
        sampled::Sampled,
    },
};

/// The duration of upstream requests. They time out after 2 s; the last bucket includes that.
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

/// Attempts are further apart than this, and corrections of the clock are smaller.
const SAME_PLAN: Duration = Duration::from_millis(100);

pub(super) struct Families {
    refreshes: Counters,
    fetched: Gauges,
    ends: Gauges,
    next_attempts: Gauges,
    upstream_requests: Counters,
    upstream_durations: Histograms,
    upstream_skews: Family<Labels, Sampled>,
    /// The upstream requests of all profiles.
    requested: Counter,
}

impl Families {
    /// `requested` counts the upstream requests of all profiles.
    pub(super) fn define(define: &mut Definitions, requested: Counter) -> Self {
        Self {
            refreshes: define.plain(
                "grantmint_refreshes",
                "Attempts to refresh grants, by profile and result: ok, a fault's class, held by the account's budget, or panicked",
            ),
            fetched: define.seconds(
                "grantmint_grant_fetch_timestamp",
                "When the current grant was requested",
            ),
            ends: define.seconds("grantmint_grant_end_timestamp", "When the current grant expires"),
            next_attempts: define.seconds(
                "grantmint_grant_next_attempt_timestamp",
                "When the next refresh attempt starts, or the running one started",
            ),
            upstream_requests: define.plain(
                "grantmint_upstream_requests",
                "Requests sent to the upstream, by profile",
            ),
            upstream_durations: define.histograms(
                "grantmint_upstream_request_duration",
                "Duration of upstream requests, including connecting and failures, by profile",
                &UPSTREAM,
            ),
            upstream_skews: define.seconds(
                "grantmint_upstream_clock_skew",
                "How far the upstream's clock is ahead of ours, by the Date of its last response, by profile",
            ),
            requested,
        }
    }
}

impl Families {
    pub(super) fn upstream_requests(&self) -> u64 {
        self.requested.get()
    }
}

impl Metrics {
    /// The handles of one grant: `results` are all possible results of its attempts.
    #[must_use]
    pub fn grant(
        &self,
        name: &GrantName,
        results: impl IntoIterator<Item = &'static str>,
    ) -> GrantMetrics {
        let families = &self.0.grants;
        let resource = self.0.resource_names.write(&name.resource);
        let of_profile = of_profile(&name.profile);
        let labels = with(&of_profile, "resource", &resource);
        // Of the profile: results of each resource would be most of the page.
        let attempts = results.into_iter().map(|result| {
            (result, families.refreshes.get_or_create_owned(&with(&of_profile, "result", result)))
        });
        GrantMetrics {
            attempts: attempts.collect(),
            fetched: Timestamp::new(&families.fetched, &labels),
            end: Timestamp::new(&families.ends, &labels),
            next_attempt: Timestamp::new(&families.next_attempts, &labels),
        }
    }

    /// The handles for requests that one profile sends.
    #[must_use]
    pub fn upstream(&self, profile: &ProfileName) -> UpstreamMetrics {
        let families = &self.0.grants;
        let labels = of_profile(profile);
        UpstreamMetrics {
            of_profile: families.upstream_requests.get_or_create_owned(&labels),
            of_all: families.requested.clone(),
            took: families.upstream_durations.get_or_create_owned(&labels),
        }
    }

    /// Sets where it is read how many seconds the upstream's clock is ahead; none before a
    /// response.
    pub fn upstream_clock_skew(
        &self,
        profile: &ProfileName,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        self.0.grants.upstream_skews.get_or_create_owned(&of_profile(profile)).read_from(read);
    }
}

/// What one grant's keeper records.
#[derive(Debug)]
pub struct GrantMetrics {
    attempts: Vec<(&'static str, Counter)>,
    fetched: Timestamp,
    end: Timestamp,
    next_attempt: Timestamp,
}

impl GrantMetrics {
    /// An attempt ended with this result, which is among those that the handles were resolved for.
    pub fn attempted(&self, result: &str) {
        if let Some((_, count)) = self.attempts.iter().find(|(name, _)| *name == result) {
            count.inc();
        }
    }

    /// A grant was published.
    pub fn published(&self, fetched: WallTime, end: WallTime) {
        self.fetched.set(fetched);
        self.end.set(end);
    }

    /// The next attempt is planned. Each new value is another attempt, which an alert counts, so a
    /// plan that only follows corrections of the clock is not reported.
    pub fn next_attempt(&self, at: WallTime) {
        if self.next_attempt.differs(at, SAME_PLAN) {
            self.next_attempt.set(at);
        }
    }
}

/// What one profile's source records.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    of_profile: Counter,
    of_all: Counter,
    took: Histogram,
}

impl UpstreamMetrics {
    /// A request was sent.
    pub fn sent(&self) {
        self.of_profile.inc();
        self.of_all.inc();
    }

    /// A request completed or timed out after `took`.
    pub fn ended(&self, took: Duration) {
        self.took.record(took, 1);
    }
}
