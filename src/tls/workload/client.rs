//! The client of the Workload API: one server-streaming call over gRPC without TLS.

use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::{
    Request, Status, Streaming, client::Grpc, metadata::MetadataValue, transport::Channel,
};
use tonic_prost::ProstCodec;

use super::messages::{X509SvidRequest, X509SvidResponse};
use crate::tls::agent::Address;

const METHOD: &str = "/SpiffeWorkloadAPI/FetchX509SVID";

/// Required by the standard, to prevent server-side request forgery
/// (<https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_Endpoint.md>, section 3).
const SECURITY_HEADER: &str = "workload.spiffe.io";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How often an idle agent is pinged. Agents in Go close connections that ping more often than
/// every 5 min (the default `EnforcementPolicy.MinTime` of grpc-go).
const PING_INTERVAL: Duration = Duration::from_secs(330);

const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// The maximum size of a message.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// Opens the stream of the workload's SVIDs and bundles.
pub(super) async fn fetch(address: &Address) -> Result<Streaming<X509SvidResponse>, Status> {
    let endpoint = address.endpoint().map_err(|error| Status::unavailable(reason(&error)))?;
    let connected = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .connect()
        .await;
    let channel = connected.map_err(|error| Status::unavailable(reason(&error)))?;
    let mut client = Grpc::<Channel>::new(channel).max_decoding_message_size(MAX_BYTES);
    client.ready().await.map_err(|error| Status::unavailable(reason(&error)))?;
    let mut request = Request::new(X509SvidRequest {});
    request.metadata_mut().insert(SECURITY_HEADER, MetadataValue::from_static("true"));
    let method = PathAndQuery::from_static(METHOD);
    let codec = ProstCodec::<X509SvidRequest, X509SvidResponse>::default();
    client.server_streaming(request, method, codec).await.map(tonic::Response::into_inner)
}

/// The innermost error: tonic's own message is only "transport error".
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
