//! `TokenService`.

mod bulk;
mod plan;

use std::sync::Arc;

use tonic::{
    Request, Response, Status,
    codec::EnabledCompressionEncodings,
    codegen::BoxFuture,
    server::{Grpc, UnaryService},
};
use tonic_prost::ProstCodec;

use super::{
    Answer, Call, Limits, Parts, convert, encodings,
    layers::deadline_of,
    proto::{MintTokenRequest, MintTokenResponse},
    status,
    streams::Streams,
};
use crate::{
    drain::Drain,
    mint::minter::{Cause, Minted, Minter, Unserved},
    telemetry::MintMetrics,
};

pub(super) struct Tokens {
    minter: Arc<Minter>,
    drain: Drain,
    streams: Streams,
    one: MintMetrics,
    many: MintMetrics,
    limits: Limits,
}

impl Tokens {
    pub(super) fn new(parts: &Parts, streams: Streams) -> Self {
        Self {
            minter: Arc::clone(&parts.minter),
            drain: parts.drain.clone(),
            streams,
            one: parts.metrics.minting("MintToken"),
            many: parts.metrics.minting("MintTokens"),
            limits: parts.limits,
        }
    }

    /// Answers a call of `MintToken`.
    pub(super) fn answer_one(self: &Arc<Self>, call: Call) -> Answer {
        let (method, most) = (MintToken(Arc::clone(self)), self.limits.request_bytes);
        let mut grpc = Grpc::new(ProstCodec::default())
            .apply_max_message_size_config(Some(most), None)
            .apply_compression_config(encodings(), EnabledCompressionEncodings::default());
        Box::pin(async move { Ok(grpc.unary(method, call).await) })
    }

    async fn mint_token(
        &self,
        request: Request<MintTokenRequest>,
    ) -> Result<Response<MintTokenResponse>, Status> {
        let deadline = deadline_of(&request);
        let (plan, identity) = self.plan_one(request.into_inner()).map_err(|refusal| {
            self.one.refused();
            status::refused(refusal)
        })?;

        match self.minter.mint(&plan, &identity, deadline).await {
            Ok(Minted { token, token_id, terms }) => {
                self.one.minted(1, terms.use_within);
                let validity = Some(convert::validity(&terms, plan.grant_name()));
                Ok(Response::new(MintTokenResponse { token, token_id, validity }))
            }
            Err(unserved) => {
                count(unserved, &self.one);
                Err(status::unserved(unserved, plan.grant_name(), deadline, None))
            }
        }
    }
}

/// The method `MintToken`.
struct MintToken(Arc<Tokens>);

impl UnaryService<MintTokenRequest> for MintToken {
    type Response = MintTokenResponse;
    type Future = BoxFuture<Response<MintTokenResponse>, Status>;

    fn call(&mut self, request: Request<MintTokenRequest>) -> Self::Future {
        let tokens = Arc::clone(&self.0);
        Box::pin(async move { tokens.mint_token(request).await })
    }
}

/// A call that ends because the server leaves lacks no grant.
fn count(unserved: Unserved, metrics: &MintMetrics) {
    if unserved.cause != Cause::Draining {
        metrics.unserved();
    }
}
