//! A gauge whose value is read from its owner when the page is requested. It costs nothing in
//! between.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

type Read = Box<dyn Fn() -> Option<f64> + Send + Sync>;

/// A gauge that is read when the page is requested. It is not on the page while it has no source or
/// no value.
#[derive(Clone, Default)]
pub(super) struct Sampled(Arc<OnceLock<Read>>);

impl Sampled {
    /// Sets the source of the value; only the first call counts.
    pub(super) fn read_from(&self, read: impl Fn() -> Option<f64> + Send + Sync + 'static) {
        // An error means that it already has a source.
        let _ = self.0.set(Box::new(read));
    }

    /// The current value, if any.
    pub(super) fn read(&self) -> Option<f64> {
        self.0.get().and_then(|read| read())
    }
}

impl fmt::Debug for Sampled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sampled")
    }
}

impl TypedMetric for Sampled {
    const TYPE: MetricType = MetricType::Gauge;
}

impl EncodeMetric for Sampled {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        match self.read() {
            Some(value) => encoder.encode_gauge(&value),
            None => Ok(()),
        }
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }

    fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }
}
