//! The messages of OTLP that traces need, version 1 of the protocol. They are written by hand: these
//! eleven do not need the protocol's files, nor the crates that bring them
//! (<https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto>).

use prost::Message;

use crate::telemetry::trace::{Kind, SpanRecord, Value};

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

impl ExportRequest {
    pub(super) fn new(resource: Resource, scope: InstrumentationScope, spans: Vec<Span>) -> Self {
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
        Self { resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans }] }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) partial_success: Option<PartialSuccess>,
}

/// Field 2, a message for people, is omitted: it is not logged.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(super) rejected_spans: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

/// This process.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<InstrumentationScope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct InstrumentationScope {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

#[expect(clippy::struct_field_names, reason = "the protocol's names")]
#[derive(Clone, PartialEq, Message)]
pub(super) struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(string, tag = "3")]
    trace_state: String,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "any_value::Value", tags = "1, 3")]
    value: Option<any_value::Value>,
}

mod any_value {
    use prost::Oneof;

    /// The types of values that are sent.
    #[derive(Clone, PartialEq, Oneof)]
    pub(super) enum Value {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(int64, tag = "3")]
        Integer(i64),
    }
}

/// An attribute with text.
pub(super) fn key_value(key: &str, text: String) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::Text(text)) };
    KeyValue { key: key.to_owned(), value: Some(value) }
}

/// W3C's flag of a sampled trace.
const SAMPLED: u32 = 1;

/// The flags that say whether the parent is in another process.
const KNOWS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// The status of a failed span. Others have none.
const ERROR: i32 = 2;

impl From<&SpanRecord> for Span {
    fn from(span: &SpanRecord) -> Self {
        let remote = if span.has_remote_parent { IS_REMOTE } else { 0 };
        let attributes = span.attributes.iter().map(|(key, value)| match value {
            Value::Text(text) => key_value(key, text.to_string()),
            Value::Integer(number) => {
                let value = AnyValue { value: Some(any_value::Value::Integer(*number)) };
                KeyValue { key: (*key).to_owned(), value: Some(value) }
            }
        });
        Self {
            trace_id: span.trace_id.bytes().to_vec(),
            span_id: span.span_id.bytes().to_vec(),
            trace_state: span.state.as_deref().unwrap_or_default().to_owned(),
            parent_span_id: span.parent_id.map_or_else(Vec::new, |id| id.bytes().to_vec()),
            name: span.name.to_string(),
            kind: match span.kind {
                Kind::Internal => 1,
                Kind::Server => 2,
                Kind::Client => 3,
            },
            start_time_unix_nano: span.start.unix_nanos(),
            end_time_unix_nano: span.end.unix_nanos(),
            attributes: attributes.collect(),
            status: span.is_error.then_some(Status { code: ERROR }),
            flags: SAMPLED | KNOWS_REMOTE | remote,
        }
    }
}
