//! Traces: which calls and attempts are recorded, and their spans.
//!
//! A span is recorded by the task that works on it, and queued for export when it is dropped. A full
//! queue drops it, so recording never blocks. The current [`Context`] is a thread-local, set while
//! its task is polled: nested spans and log lines find it there, without a parameter on the way.
//! Without an endpoint and without a `traceparent` there is no context, and a call costs a look at
//! the names of its headers more.
//!
//! The `OpenTelemetry` SDK is not used. With its OTLP exporter and `tracing-opentelemetry` it adds 12
//! crates to 165, and 27 CPU seconds to a release build; it records through spans of `tracing`, which the mint path would have to enter; and it
//! does not count what its queue drops. What is needed of the protocol is 11 messages, which the
//! module `otlp` sends with the gRPC client that is already here. Tests decode them with the
//! official messages.

mod context;
mod current;
mod sample;
mod span;

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use tokio::sync::mpsc;

use self::context::Parent;
pub(super) use self::current::with_ids;
pub use self::{
    context::{Context, SpanId, TraceId},
    current::{Entered, Traced, child, within},
    sample::{Sample, SampleError},
    span::{Kind, Span, SpanRecord, Value},
};
use super::{ResourceNames, TraceMetrics};
use crate::{clock::Clock, name::Resource};

/// The maximum number of spans that wait for export; further ones are dropped.
const MAX_QUEUED: usize = 4_096;

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The spans that wait for export.
pub type Spans = mpsc::Receiver<SpanRecord>;

/// Decides which work is recorded. By default, none is.
#[derive(Clone, Debug, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

/// Records spans.
#[derive(Debug)]
struct Recorder {
    sample: Sample,
    spans: mpsc::Sender<SpanRecord>,
    clock: Clock,
    resource_names: ResourceNames,
    metrics: TraceMetrics,
}

/// How work without a parent is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// By the configured share.
    Sampled,
    /// Always, unless the share is zero: for rare events.
    Always,
}

/// A received call: its context, and its span if it is recorded.
#[derive(Debug)]
pub struct CallTrace {
    /// The context of its log lines and spans.
    pub context: Context,
    /// None if it is not sampled.
    pub span: Option<Span>,
}

impl Tracer {
    /// Records this share of the work without a parent. Resources are written as `resource_names`
    /// does.
    #[must_use]
    pub fn new(
        sample: Sample,
        clock: Clock,
        resource_names: ResourceNames,
        metrics: TraceMetrics,
    ) -> (Self, Spans) {
        let (spans, queue) = mpsc::channel(MAX_QUEUED);
        let recorder = Recorder { sample, spans, clock, resource_names, metrics };
        (Self(Some(Arc::new(recorder))), queue)
    }

    /// The trace of a call with these headers. None if it is not recorded and names no trace.
    #[must_use]
    pub fn call(&self, headers: &HeaderMap) -> Option<CallTrace> {
        // All that an ordinary call costs: its few names differ in length, so this takes a third of
        // the instructions of a lookup.
        let is_given = headers.keys().any(|name| name.as_str() == TRACEPARENT.as_str());
        let parent = if is_given { Parent::of(headers) } else { None };
        let Some(recorder) = &self.0 else {
            let context = Context::unrecorded(parent?.trace_id);
            return Some(CallTrace { context, span: None });
        };
        let span = match parent {
            Some(parent) if parent.is_sampled => Span::of_call(recorder, parent),
            Some(parent) => {
                let context = Context::unrecorded(parent.trace_id);
                return Some(CallTrace { context, span: None });
            }
            None => Span::root(recorder, Rate::Sampled, "", Kind::Server)?,
        };
        Some(CallTrace { context: span.context(), span: Some(span) })
    }

    /// A span without a parent; none if it is not sampled.
    #[must_use]
    pub fn root(&self, rate: Rate, name: &'static str) -> Option<Span> {
        Span::root(self.0.as_ref()?, rate, name, Kind::Internal)
    }
}

impl Recorder {
    fn record(&self, span: SpanRecord) {
        if self.spans.try_send(span).is_err() {
            self.metrics.dropped();
        }
    }

    fn resource(&self, resource: &Resource) -> String {
        self.resource_names.write(resource)
    }
}

#[cfg(test)]
mod tests;
