//! Traces.

use prometheus_client::metrics::counter::Counter;

use super::{Metrics, definitions::Definitions, labels::Counters};
use crate::telemetry::sampled::Sampled;

pub(super) struct Families {
    spans: Counters,
    failing: Sampled,
}

impl Families {
    pub(super) fn define(define: &mut Definitions) -> Self {
        Self {
            spans: define.plain(
                "grantmint_trace_spans",
                "Recorded spans, by outcome: exported, dropped (the queue was full), or failed (the collector refused them)",
            ),
            failing: define.plain(
                "grantmint_trace_export_failing",
                "Whether spans cannot be exported: 1, else 0",
            ),
        }
    }
}

impl Metrics {
    /// The handles of traces.
    #[must_use]
    pub fn traces(&self) -> TraceMetrics {
        let count = |outcome: &str| {
            self.0.traces.spans.get_or_create_owned(&vec![("outcome", outcome.to_owned())])
        };
        TraceMetrics {
            exported: count("exported"),
            dropped: count("dropped"),
            failed: count("failed"),
        }
    }

    /// Sets where it is read whether spans cannot be exported.
    pub fn trace_export_failing(&self, read: impl Fn() -> bool + Send + Sync + 'static) {
        self.0.traces.failing.read_from(move || Some(f64::from(u8::from(read()))));
    }
}

/// The counts of spans.
#[derive(Clone, Debug)]
pub struct TraceMetrics {
    exported: Counter,
    dropped: Counter,
    failed: Counter,
}

impl TraceMetrics {
    /// The collector accepted this many spans.
    pub fn exported(&self, spans: u64) {
        self.exported.inc_by(spans);
    }

    /// The queue had no room for a span.
    pub fn dropped(&self) {
        self.dropped.inc();
    }

    /// The collector refused this many spans, or they could not be sent before the process ended.
    pub fn failed(&self, spans: u64) {
        self.failed.inc_by(spans);
    }
}
