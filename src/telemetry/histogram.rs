//! A histogram of durations that records without a lock: the registry's own histogram locks a
//! mutex for each value.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric, family::MetricConstructor},
};

/// The buckets and the resolution of a histogram.
#[derive(Debug)]
pub(super) struct Scale {
    /// Inclusive upper bounds of the buckets, ascending. Larger values are counted too.
    pub(super) bounds: &'static [Duration],
    /// The resolution of the sum, to which each value is rounded down. In milliseconds, a million
    /// values of a minute each second overflow its 64 bits after 9 years.
    pub(super) ticks_a_second: u32,
}

/// Counts of durations by bucket. Clones record to the same counts.
#[derive(Clone, Debug)]
pub(super) struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    scale: &'static Scale,
    /// One per bound, and one for larger values.
    counts: Box<[AtomicU64]>,
    ticks: AtomicU64,
}

impl Histogram {
    fn new(scale: &'static Scale) -> Self {
        let counts = (0..=scale.bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self(Arc::new(Inner { scale, counts, ticks: AtomicU64::new(0) }))
    }

    /// Records `value` `times` times.
    pub(super) fn record(&self, value: Duration, times: u64) {
        let Inner { scale, counts, ticks } = &*self.0;
        let bucket = scale.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = counts.get(bucket) {
            count.fetch_add(times, Ordering::Relaxed);
            ticks.fetch_add(scale.ticks(value).wrapping_mul(times), Ordering::Relaxed);
        }
    }

    /// The counts of the buckets, and of larger values.
    pub(super) fn counts(&self) -> impl Iterator<Item = u64> {
        self.0.counts.iter().map(|count| count.load(Ordering::Relaxed))
    }
}

impl Scale {
    fn ticks(&self, value: Duration) -> u64 {
        let whole = value.as_secs().wrapping_mul(u64::from(self.ticks_a_second));
        whole.wrapping_add(u64::from(value.subsec_nanos() / (1_000_000_000 / self.ticks_a_second)))
    }
}

impl MetricConstructor<Histogram> for &'static Scale {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self)
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let Inner { scale, counts, ticks } = &*self.0;
        let bounds = scale.bounds.iter().map(Duration::as_secs_f64).chain([f64::INFINITY]);
        let counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        // From the buckets as read, so that the page is consistent.
        let count = buckets.iter().map(|(_, count)| count).sum();
        #[expect(clippy::cast_precision_loss, reason = "the page has floats")]
        let sum = ticks.load(Ordering::Relaxed) as f64 / f64::from(scale.ticks_a_second);
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::{Duration, Histogram, Scale};

    static SCALE: Scale = Scale {
        bounds: &[Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(60)],
        ticks_a_second: 1_000,
    };

    fn page(histogram: &Histogram) -> String {
        let mut registry = Registry::default();
        registry.register("life", "Lives", histogram.clone());
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        page
    }

    #[test]
    fn bucket_bounds_are_inclusive() {
        let histogram = Histogram::new(&SCALE);
        for (millis, times) in [(0, 1), (500, 2), (501, 4), (1_000, 8), (59_999, 16), (61_000, 32)]
        {
            histogram.record(Duration::from_millis(millis), times);
        }
        histogram.record(Duration::from_nanos(60_000_000_001), 64);
        let page = page(&histogram);
        let wanted = "life_sum 6762.988\nlife_count 127\n\
             life_bucket{le=\"0.5\"} 3\nlife_bucket{le=\"1.0\"} 15\n\
             life_bucket{le=\"60.0\"} 31\nlife_bucket{le=\"+Inf\"} 127\n";
        assert!(page.contains(wanted), "{page}");
    }

    #[test]
    fn concurrent_records_are_all_counted() {
        let histogram = Histogram::new(&SCALE);
        let together = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    together.wait();
                    for _ in 0..250_000 {
                        histogram.record(Duration::from_millis(250), 3);
                    }
                });
            }
        });
        let page = page(&histogram);
        assert!(page.contains("life_sum 750000.0\nlife_count 3000000\n"), "{page}");
    }
}
