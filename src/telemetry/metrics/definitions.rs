//! Defines metrics: each is registered and returned in one call.

use prometheus_client::{
    metrics::{family::MetricConstructor, info::Info},
    registry::{Metric, Registry, Unit},
};

use super::labels::Histograms;
use crate::telemetry::histogram::{Histogram, Scale};

type Label = (&'static str, &'static str);

/// The registry while metrics are defined, in the order of the page.
#[derive(Default)]
pub(super) struct Definitions(Registry);

impl Definitions {
    pub(super) fn registry(self) -> Registry {
        self.0
    }

    /// A metric without a unit.
    pub(super) fn plain<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    /// A metric in seconds.
    pub(super) fn seconds<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.in_seconds(name, help, M::default())
    }

    /// One histogram of durations.
    pub(super) fn histogram(&mut self, name: &str, help: &str, scale: &'static Scale) -> Histogram {
        self.in_seconds(name, help, scale.new_metric())
    }

    /// Histograms of durations with labels.
    pub(super) fn histograms(
        &mut self,
        name: &str,
        help: &str,
        scale: &'static Scale,
    ) -> Histograms {
        self.in_seconds(name, help, Histograms::new_with_constructor(scale))
    }

    /// A metric whose information is in its labels.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: Info<Vec<Label>>) {
        self.0.register(name, help, labels);
    }

    fn in_seconds<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }
}
