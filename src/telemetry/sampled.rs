//! A gauge that is read where its figure is kept, when the page is asked for: in between it
//! costs nothing.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

type Read = Box<dyn Fn() -> Option<f64> + Send + Sync>;

/// A gauge that is read when the page is asked for. While there is nothing to read, or no
/// figure yet, it is not on the page.
#[derive(Clone, Default)]
pub(super) struct Sampled(Arc<OnceLock<Read>>);

impl Sampled {
    /// Where to read it from now on; only the first time counts.
    pub(super) fn read_from(&self, read: impl Fn() -> Option<f64> + Send + Sync + 'static) {
        // An error would mean that it is read from somewhere already.
        let _ = self.0.set(Box::new(read));
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
        match self.0.get().and_then(|read| read()) {
            Some(figure) => encoder.encode_gauge(&figure),
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
