//! The client of a collector: one unary call over gRPC.

use std::{
    error::Error,
    io,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Uri, uri::PathAndQuery};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tonic::{
    Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::{
    Config,
    messages::{ExportRequest, ExportResponse, InstrumentationScope, Resource, Span, key_value},
};
use crate::{
    telemetry::trace::SpanRecord,
    tls::{
        client::{Expected, Files, connect},
        prefixed::Prefixed,
    },
};

const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls a collector. It connects at the first call, and again after a lost connection.
pub(super) struct Client {
    grpc: Grpc<Channel>,
    resource: Resource,
}

impl Client {
    pub(super) fn new(config: &Config) -> Self {
        let endpoint = Endpoint::from(config.endpoint.0.clone()).connect_timeout(CONNECT_TIMEOUT);
        let channel = if config.endpoint.is_https() {
            endpoint.connect_with_connector_lazy(Dialer { ca: config.ca.clone() })
        } else {
            endpoint.connect_lazy()
        };
        let attributes = config.attributes.iter();
        let attributes = attributes.map(|(key, value)| key_value(key, value.clone()));
        let resource = Resource { attributes: attributes.collect() };
        Self { grpc: Grpc::new(channel), resource }
    }

    /// Sends spans. Returns how many the collector rejected.
    pub(super) async fn export(&mut self, spans: &[SpanRecord]) -> Result<u64, Status> {
        let ready = self.grpc.ready().await;
        ready.map_err(|error| Status::unavailable(innermost(&error)))?;
        let spans = spans.iter().map(Span::from).collect();
        let scope = InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let request = Request::new(ExportRequest::new(self.resource.clone(), scope, spans));
        let method = PathAndQuery::from_static(METHOD);
        let codec = ProstCodec::<ExportRequest, ExportResponse>::default();
        let response = self.grpc.unary(request, method, codec).await?.into_inner();
        let rejected = response.partial_success.map_or(0, |partial| partial.rejected_spans);
        Ok(u64::try_from(rejected).unwrap_or(0))
    }
}

/// Why a call failed, on one line.
pub(super) fn reason(status: &Status) -> String {
    let message = status.source().map_or_else(|| status.message().to_owned(), innermost);
    format!("{:?}, {}", status.code(), message.escape_debug())
}

/// The innermost error: tonic's own message is only "transport error".
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// Connects over TLS. The CAs are read again for each connection.
#[derive(Clone)]
struct Dialer {
    ca: Option<PathBuf>,
}

type Connected = TokioIo<Prefixed<TlsStream<TcpStream>>>;

impl Service<Uri> for Dialer {
    type Response = Connected;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Connected, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let files = Files { ca: self.ca.clone(), pair: None };
        Box::pin(async move {
            let host = server.host().ok_or(io::ErrorKind::InvalidInput).map_err(io::Error::from)?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let expected = Expected::parse(host)?;
            let port = server.port_u16().unwrap_or(443);
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            Ok(TokioIo::new(connect(stream, &expected, &files).await?))
        })
    }
}
