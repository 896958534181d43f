//! The responses of `MintTokens`, read without copying each token.

use std::fmt;

use bytes::Bytes;
use grantmint::rpc::proto::{MintTokensRequest, Validity};
use http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming, client::Grpc};
use tonic_prost::ProstCodec;

use grantmint_client::Connection;

/// A `MintTokensResponse` whose tokens stay in the receive buffer: they are only written or
/// counted, and a string for each would cost as much as receiving it.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Chunk {
    /// The credentials: secrets.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(crate) tokens: Vec<Bytes>,
    /// Their validity.
    #[prost(message, optional, tag = "3")]
    pub(crate) validity: Option<Validity>,
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk").field("tokens", &self.tokens.len()).finish_non_exhaustive()
    }
}

/// Calls `MintTokens`.
pub(crate) async fn mint_tokens(
    channel: Connection,
    request: Request<MintTokensRequest>,
) -> Result<Streaming<Chunk>, Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|_| Status::unavailable("the connection is not ready"))?;
    let path = PathAndQuery::from_static("/grantmint.v1.TokenService/MintTokens");
    let chunks = client.server_streaming(request, path, ProstCodec::default());
    Ok(chunks.await?.into_inner())
}
