//! The answers of `MintTokens`, read without a copy of each token.

use std::fmt;

use bytes::Bytes;
use grantmint::rpc::proto::{MintTokensRequest, Validity};
use http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming, client::Grpc};
use tonic_prost::ProstCodec;

use crate::bearer::Connection;

/// A `MintTokensResponse` whose tokens stay in the buffer that they came in: they are written
/// or counted, and forgotten; to make a string of each costs as much as to receive it.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(crate) struct Chunk {
    /// The credentials: secrets.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(crate) tokens: Vec<Bytes>,
    /// How long they are good for.
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
