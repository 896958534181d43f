//! The client of a collector: one unary call over gRPC.

use std::{error::Error, time::Duration};

use grantmint_client::{connect::Connector, tls::Files};
use http::uri::PathAndQuery;
use tonic::{
    Request, Status,
    client::Grpc,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

use super::{
    Config,
    messages::{ExportRequest, ExportResponse, InstrumentationScope, Resource, Span, key_value},
};
use crate::telemetry::trace::SpanRecord;

const METHOD: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Calls a collector. It connects at the first call, and again after a lost connection.
pub(super) struct Client {
    grpc: Grpc<Channel>,
    resource: Resource,
}

impl Client {
    pub(super) fn new(config: &Config) -> Self {
        let connector = match &config.endpoint.expected {
            None => Connector::plaintext(),
            Some(name) => Connector::tls(name.clone(), Files { ca: config.ca.clone(), pair: None }),
        };
        let endpoint = Endpoint::from(config.endpoint.uri.clone()).connect_timeout(CONNECT_TIMEOUT);
        let channel = endpoint.connect_with_connector_lazy(connector);
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
