//! A collector of traces.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, Status as SpanStatus, status::StatusCode},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// A collector, stopped when this value is dropped.
pub(crate) struct Collector {
    pub(crate) url: String,
    requests: Requests,
    task: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Requests(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

impl Requests {
    fn lock(&self) -> MutexGuard<'_, Vec<ExportTraceServiceRequest>> {
        self.0.lock().expect("not poisoned")
    }
}

#[tonic::async_trait]
impl TraceService for Requests {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.lock().push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    pub(crate) async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    pub(crate) fn on(listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = Requests::default();
        let service = TraceServiceServer::new(requests.clone());
        let task = tokio::spawn(async move {
            let server = Server::builder().add_service(service);
            server.serve_with_incoming(TcpIncoming::from(listener)).await.expect("it serves");
        });
        Self { url, requests, task }
    }

    /// Everything that was received, as text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for request in &*self.requests.lock() {
            writeln!(text, "{request:?}").expect("text");
        }
        text
    }

    /// The received spans, in the order in which they ended.
    pub(crate) fn spans(&self) -> Vec<Received> {
        let requests = self.requests.lock();
        let resources = requests.iter().flat_map(|request| &request.resource_spans);
        let spans = resources.flat_map(|resource| {
            let of_process = &resource.resource.as_ref().expect("a resource").attributes;
            let service = texts(of_process)["service.name"].clone();
            let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
            spans.map(move |span| Received::new(span, service.clone()))
        });
        spans.collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A received span.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) trace_id: String,
    pub(crate) span_id: String,
    pub(crate) parent_id: String,
    pub(crate) name: String,
    pub(crate) kind: i32,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) is_error: bool,
    pub(crate) state: String,
    pub(crate) flags: u32,
    pub(crate) took_nanos: u64,
    pub(crate) service: String,
}

impl Received {
    fn new(span: &Span, service: String) -> Self {
        let status = span.status.as_ref().map_or(StatusCode::Unset, SpanStatus::code);
        Self {
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_id: hex(&span.parent_span_id),
            name: span.name.clone(),
            kind: span.kind,
            attributes: texts(&span.attributes),
            is_error: status == StatusCode::Error,
            state: span.trace_state.clone(),
            flags: span.flags,
            took_nanos: span.end_time_unix_nano - span.start_time_unix_nano,
            service,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("text");
    }
    text
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}
