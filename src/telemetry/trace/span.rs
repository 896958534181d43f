//! A span while it is recorded, and once it has ended.

use std::{borrow::Cow, mem, sync::Arc};

use super::{
    Rate, Recorder,
    context::{Context, Parent, SpanId, TraceId},
};
use crate::{
    clock::{Anchor, WallTime},
    name::Resource,
};

/// The role of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Work inside this process.
    Internal,
    /// A served call.
    Server,
    /// A request to another server.
    Client,
}

/// The value of an attribute. It never holds a secret, a token, a grant or an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// A number.
    Integer(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Integer(number.into())
    }
}

/// A span that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanRecord {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
    /// The id of its parent, if any.
    pub parent_id: Option<SpanId>,
    /// Whether the parent is in another process.
    pub has_remote_parent: bool,
    /// The `tracestate` of its trace.
    pub state: Option<Arc<str>>,
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its role.
    pub kind: Kind,
    /// When it started.
    pub start: WallTime,
    /// When it ended.
    pub end: WallTime,
    /// Its attributes.
    pub attributes: Vec<(&'static str, Value)>,
    /// Whether it failed.
    pub is_error: bool,
}

/// A span that is being recorded. It ends when it is dropped. Boxed, since futures that hardly ever
/// have one have a place for it.
#[derive(Debug)]
pub struct Span(Box<Active>);

#[derive(Debug)]
struct Active {
    record: SpanRecord,
    started: Anchor,
    recorder: Arc<Recorder>,
}

impl Span {
    /// A span without a parent, if it is sampled.
    pub(super) fn root(
        recorder: &Arc<Recorder>,
        rate: Rate,
        name: &'static str,
        kind: Kind,
    ) -> Option<Self> {
        let trace_id = TraceId::random();
        let is_sampled = match rate {
            Rate::Sampled => recorder.sample.takes(trace_id),
            Rate::Always => recorder.sample.takes_rare_events(),
        };
        is_sampled.then(|| Self::start(recorder, trace_id, name.into(), kind))
    }

    /// The span of a call with a sampled parent.
    pub(super) fn of_call(recorder: &Arc<Recorder>, parent: Parent) -> Self {
        let mut span = Self::start(recorder, parent.trace_id, "".into(), Kind::Server);
        span.0.record.parent_id = Some(parent.span_id);
        span.0.record.has_remote_parent = true;
        span.0.record.state = parent.state;
        span
    }

    /// A span inside the span of a context.
    pub(super) fn inside(
        recorder: &Arc<Recorder>,
        parent: (TraceId, SpanId, Option<Arc<str>>),
        name: Cow<'static, str>,
        kind: Kind,
    ) -> Self {
        let (trace_id, span_id, state) = parent;
        let mut span = Self::start(recorder, trace_id, name, kind);
        span.0.record.parent_id = Some(span_id);
        span.0.record.state = state;
        span
    }

    fn start(
        recorder: &Arc<Recorder>,
        trace_id: TraceId,
        name: Cow<'static, str>,
        kind: Kind,
    ) -> Self {
        let started = recorder.clock.now();
        let record = SpanRecord {
            trace_id,
            span_id: SpanId::random(),
            parent_id: None,
            has_remote_parent: false,
            state: None,
            name,
            kind,
            start: started.wall,
            end: started.wall,
            attributes: Vec::new(),
            is_error: false,
        };
        Self(Box::new(Active { record, started, recorder: Arc::clone(recorder) }))
    }

    /// The context of the work that the span is of.
    #[must_use]
    pub fn context(&self) -> Context {
        let SpanRecord { trace_id, span_id, ref state, .. } = self.0.record;
        Context::recorded(trace_id, span_id, state.clone(), &self.0.recorder)
    }

    /// Names the span.
    pub fn rename(&mut self, name: String) {
        self.0.record.name = name.into();
    }

    /// Adds an attribute.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.0.record.attributes.push((key, value.into()));
    }

    /// Adds a resource, as pages outside the process show it.
    pub fn set_resource(&mut self, key: &'static str, resource: &Resource) {
        let resource = self.0.recorder.resource(resource);
        self.set(key, resource);
    }

    /// Marks the span as failed, with the kind of the error.
    pub fn fail(&mut self, error: impl Into<Value>) {
        self.0.record.is_error = true;
        self.set("error.type", error);
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let empty =
            SpanRecord { state: None, name: "".into(), attributes: Vec::new(), ..self.record };
        let mut record = mem::replace(&mut self.record, empty);
        let now = self.recorder.clock.now();
        // A step of the wall clock does not change the duration.
        record.end = record.start + now.boot.since(self.started.boot);
        self.recorder.record(record);
    }
}
