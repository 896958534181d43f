//! One call of the load. It does as little work as possible: on a shared machine, the load takes
//! processor time from the server.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use grantmint::rpc::proto::{
    IdentitySeries, MintOptions, MintTokensRequest, mint_tokens_request::Selection,
};
use grantmint_client::{Connection, chunks::mint_tokens};
use http::uri::PathAndQuery;
use prost::Message;
use tonic::{Request, Status, client::Grpc};
use tonic_prost::ProstCodec;

/// The method that calls use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// `MintToken`.
    MintToken,
    /// `MintTokens`, with the number of tokens.
    MintTokens(u32),
}

/// Makes calls.
pub(super) trait Call: Clone + Send + Sync + 'static {
    /// Makes call `number`, and reports the count of tokens as they arrive.
    fn call(
        &self,
        number: u64,
        on_tokens: impl Fn(u64) + Send + Sync,
    ) -> impl Future<Output = Result<(), Status>> + Send;
}

/// Makes calls over one connection, each for its own identity.
#[derive(Clone)]
pub(super) struct Caller {
    channel: Connection,
    method: Method,
    shared: Arc<Shared>,
}

/// What all calls of a connection share.
struct Shared {
    options: MintOptions,
    /// The options, encoded once.
    encoded: Bytes,
    prefix: String,
    timeout: Duration,
}

impl Caller {
    pub(super) fn new(
        channel: Connection,
        method: Method,
        options: &MintOptions,
        prefix: &str,
        timeout: Duration,
    ) -> Self {
        let encoded = options.encode_to_vec().into();
        let (options, prefix) = (options.clone(), prefix.to_owned());
        Self { channel, method, shared: Arc::new(Shared { options, encoded, prefix, timeout }) }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.shared.timeout);
        request
    }

    async fn token(&self, number: u64) -> Result<(), Status> {
        let request = self.request(MintTokenCall {
            options: self.shared.encoded.clone(),
            identity: format!("{}{number}", self.shared.prefix),
        });
        let mut client = Grpc::new(self.channel.clone());
        client.ready().await.map_err(|_| Status::unavailable("the connection is not ready"))?;
        let path = PathAndQuery::from_static("/grantmint.v1.TokenService/MintToken");
        // The response is read and dropped.
        client.unary(request, path, ProstCodec::<_, ()>::default()).await.map(|_| ())
    }

    async fn tokens(
        &self,
        number: u64,
        count: u32,
        on_tokens: impl Fn(u64) + Send + Sync,
    ) -> Result<(), Status> {
        let prefix = format!("{}{number}-", self.shared.prefix);
        let series = IdentitySeries { prefix, count: count.into() };
        let request = self.request(MintTokensRequest {
            options: Some(self.shared.options.clone()),
            selection: Some(Selection::IdentitySeries(series)),
            start_index: 0,
            chunk_size: 0,
        });
        let mut chunks = mint_tokens(self.channel.clone(), request).await?;
        while let Some(chunk) = chunks.message().await? {
            on_tokens(chunk.tokens.len() as u64);
        }
        Ok(())
    }
}

impl Call for Caller {
    async fn call(&self, number: u64, on_tokens: impl Fn(u64) + Send + Sync) -> Result<(), Status> {
        match self.method {
            Method::MintToken => {
                self.token(number).await?;
                on_tokens(1);
                Ok(())
            }
            Method::MintTokens(count) => self.tokens(number, count, on_tokens).await,
        }
    }
}

/// A `MintTokenRequest` with encoded options.
#[derive(Clone, PartialEq, prost::Message)]
struct MintTokenCall {
    #[prost(bytes = "bytes", tag = "1")]
    options: Bytes,
    #[prost(string, tag = "2")]
    identity: String,
}

#[cfg(test)]
mod tests {
    use grantmint::rpc::proto::MintTokenRequest;

    use super::*;

    #[test]
    fn pre_encoded_call_decodes_as_a_mint_request() {
        let options = MintOptions {
            profile: "live".to_owned(),
            ttl: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
            ..<_>::default()
        };
        let call =
            MintTokenCall { options: options.encode_to_vec().into(), identity: "b-7".to_owned() };
        let read = MintTokenRequest::decode(call.encode_to_vec().as_slice()).unwrap();
        assert_eq!(read, MintTokenRequest { options: Some(options), identity: "b-7".to_owned() });
    }
}
