//! The responses of `MintTokens`, read without copying each token.

use std::fmt;

use bytes::Bytes;
use http::uri::PathAndQuery;
use tonic::{Request, Status, Streaming, client::Grpc};
use tonic_prost::ProstCodec;

use crate::{
    Connection,
    proto::{MintTokensRequest, Validity},
};

/// A `MintTokensResponse` whose tokens stay in the buffer in which they were received:
/// allocating a string for each costs as much as receiving it.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct ReceivedChunk {
    /// The tokens, which are text: bearer secrets.
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub tokens: Vec<Bytes>,
    /// The index of the first token.
    #[prost(int64, tag = "2")]
    pub first_index: i64,
    /// Their validity.
    #[prost(message, optional, tag = "3")]
    pub validity: Option<Validity>,
}

impl fmt::Debug for ReceivedChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReceivedChunk")
            .field("first_index", &self.first_index)
            .field("tokens", &self.tokens.len())
            .finish_non_exhaustive()
    }
}

/// Calls `MintTokens` once, without resuming it: see [`Bulk`](crate::Bulk) for that.
pub async fn mint_tokens(
    connection: Connection,
    request: Request<MintTokensRequest>,
) -> Result<Streaming<ReceivedChunk>, Status> {
    let mut client = Grpc::new(connection);
    client.ready().await.map_err(|_| Status::unavailable("the connection is not ready"))?;
    let path = PathAndQuery::from_static("/grantmint.v1.TokenService/MintTokens");
    let chunks = client.server_streaming(request, path, ProstCodec::default());
    Ok(chunks.await?.into_inner())
}
