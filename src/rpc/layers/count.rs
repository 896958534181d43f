//! Counts calls by status, measures their duration, and ends their spans.

use std::{collections::HashMap, sync::Arc};

use http::HeaderMap;
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::{
    rpc::methods::{Kind, METHODS, Rule},
    telemetry::{
        Metrics, RpcMetrics,
        trace::{CallTrace, Span},
    },
};

/// The names of the codes by number, as metrics label them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// The same as the protocol spells them, for spans.
const STATUS_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The method of a span whose method is unknown: the caller's text must not become a name.
const OTHER: &str = "_OTHER";

/// The metrics and the rule of a method.
#[derive(Debug)]
pub(super) struct Method {
    pub(super) unary: bool,
    /// Whether it takes one request rather than a stream of them.
    pub(super) one_request: bool,
    /// The rule of access; none for an unknown method.
    pub(super) rule: Option<Rule>,
    /// `SERVICE/METHOD`.
    full_name: String,
    metrics: RpcMetrics,
}

/// The methods by path.
#[derive(Clone, Debug)]
pub(super) struct Methods {
    by_path: Arc<HashMap<String, Arc<Method>>>,
    /// Used for every unknown method, whose name must not become a label.
    unknown: Arc<Method>,
}

impl Methods {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let method = |kind: Kind, service: &str, name: &str, rule| {
            let metrics = metrics.rpc(kind.as_str(), service, name, &CODES);
            let (unary, one_request) = (kind == Kind::Unary, kind != Kind::BidiStream);
            let full_name = match rule {
                Some(_) => format!("{service}/{name}"),
                None => OTHER.to_owned(),
            };
            Arc::new(Method { unary, one_request, rule, full_name, metrics })
        };
        let methods = METHODS.into_iter().map(|it| {
            let path = format!("/{}/{}", it.service, it.name);
            (path, method(it.kind, it.service, it.name, Some(it.rule)))
        });
        Self {
            by_path: Arc::new(methods.collect()),
            unknown: method(Kind::Unary, "unknown", "unknown", None),
        }
    }

    pub(super) fn find(&self, path: &str) -> &Arc<Method> {
        self.by_path.get(path).unwrap_or(&self.unknown)
    }
}

/// Counts the outcome of a call once, with its duration: by its status, or as cancelled if none was
/// sent.
pub(super) struct Ending {
    pub(super) method: Arc<Method>,
    started: Instant,
    pub(super) code: Code,
    /// None for nearly all calls.
    pub(super) trace: Option<Box<CallTrace>>,
}

impl Ending {
    pub(super) fn begin(
        method: Arc<Method>,
        started: Instant,
        trace: Option<Box<CallTrace>>,
    ) -> Self {
        method.metrics.started();
        Self { method, started, code: Code::Cancelled, trace }
    }

    pub(super) fn note(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.code = status.code();
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.method.metrics.handled(self.code as usize, self.started.elapsed());
        if let Some(span) = self.trace.take().and_then(|trace| trace.span) {
            end(span, &self.method.full_name, self.code);
        }
    }
}

/// Ends a call's span, with the attributes of the conventions for RPC
/// (<https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>).
fn end(mut span: Span, method: &str, code: Code) {
    let name = STATUS_CODES.get(code as usize).copied().unwrap_or(OTHER);
    span.rename(method.to_owned());
    span.set("rpc.system.name", "grpc");
    span.set("rpc.method", method.to_owned());
    span.set("rpc.response.status_code", name);
    // The caller causes all other codes.
    if let Code::Unknown
    | Code::DeadlineExceeded
    | Code::Unimplemented
    | Code::Internal
    | Code::Unavailable
    | Code::DataLoss = code
    {
        span.fail(name);
    }
}
