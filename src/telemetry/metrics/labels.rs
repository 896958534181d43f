//! Metrics with labels, and conversions of their values.

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge};

use crate::{
    clock::WallTime,
    name::ProfileName,
    telemetry::histogram::{Histogram, Scale},
};

/// Names and values of a metric's labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A number that goes up and down.
pub(super) type FloatGauge = Gauge<f64, AtomicU64>;

pub(super) type Counters = Family<Labels, Counter>;
pub(super) type Gauges = Family<Labels, FloatGauge>;
pub(super) type Histograms = Family<Labels, Histogram, &'static Scale>;

pub(super) fn of_profile(profile: &ProfileName) -> Labels {
    vec![("profile", profile.to_string())]
}

pub(super) fn with(labels: &Labels, name: &'static str, value: &str) -> Labels {
    let mut labels = labels.clone();
    labels.push((name, value.to_owned()));
    labels
}

/// Seconds since the Unix epoch.
#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit for centuries")]
pub(super) fn unix_seconds(at: WallTime) -> f64 {
    at.unix_micros() as f64 / 1e6
}

pub(super) fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

/// The handles that were resolved, by a label's value, for reading.
#[derive(Debug)]
pub(super) struct Resolved<T>(Mutex<BTreeMap<String, T>>);

impl<T> Default for Resolved<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Resolved<T> {
    /// Adds handles, and returns them.
    pub(super) fn add(&self, label: &str, handles: T) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(label.to_owned(), handles.clone());
        handles
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// All of them with their labels.
    pub(super) fn all(&self) -> Vec<(String, T)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(label, handles)| (label.clone(), handles.clone())).collect()
    }
}

/// A time that is not on the page before it is known: 0 would mean 1970.
#[derive(Debug)]
pub(super) struct Timestamp {
    family: Gauges,
    labels: Labels,
    gauge: OnceLock<FloatGauge>,
}

impl Timestamp {
    pub(super) fn new(family: &Gauges, labels: &Labels) -> Self {
        Self { family: family.clone(), labels: labels.clone(), gauge: OnceLock::new() }
    }

    pub(super) fn set(&self, at: WallTime) {
        let gauge = self.gauge.get_or_init(|| self.family.get_or_create_owned(&self.labels));
        gauge.set(unix_seconds(at));
    }

    /// Whether it is unknown, or at least `step` from `at`.
    pub(super) fn differs(&self, at: WallTime, step: Duration) -> bool {
        let apart = |gauge: &FloatGauge| (gauge.get() - unix_seconds(at)).abs();
        self.gauge.get().is_none_or(|gauge| apart(gauge) >= step.as_secs_f64())
    }
}

/// Counts events by kind. All kinds are resolved in advance, and on the page from the start.
#[derive(Debug)]
pub struct Counts(Vec<(&'static str, Counter)>);

impl Counts {
    /// The counters of `family` whose `label` is one of `kinds`.
    pub(super) fn new(family: &Counters, label: &'static str, kinds: &[&'static str]) -> Self {
        let counter = |kind: &&'static str| {
            (*kind, family.get_or_create_owned(&vec![(label, (*kind).to_owned())]))
        };
        Self(kinds.iter().map(counter).collect())
    }

    /// The kinds with their counters.
    pub(super) fn all(&self) -> &[(&'static str, Counter)] {
        &self.0
    }

    /// Counts one event of a resolved kind.
    pub fn add(&self, kind: &str) {
        if let Some((_, count)) = self.0.iter().find(|(name, _)| *name == kind) {
            count.inc();
        }
    }
}
