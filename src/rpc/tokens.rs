//! `TokenService`.

mod bulk;
mod plan;
mod rights;

use std::sync::Arc;

use tokio::time::Instant;
use tonic::{
    Request, Response, Status,
    codec::EnabledCompressionEncodings,
    codegen::BoxFuture,
    server::{Grpc, UnaryService},
};
use tonic_prost::ProstCodec;

use super::{
    Call, CallFuture, Limits, Parts,
    access::{Access, CallerQuota},
    convert, encodings,
    layers::Origin,
    lists::Lists,
    proto::{MintTokenRequest, MintTokenResponse},
    status,
    streams::Streams,
};
use crate::{
    auth::usage::Quota,
    clock::Clock,
    mint::minter::{Cause, Minted, Minter, Unserved},
    telemetry::MintMetrics,
};

pub(super) struct Tokens {
    minter: Arc<Minter>,
    clock: Clock,
    streams: Streams,
    lists: Lists,
    one: MintMetrics,
    many: MintMetrics,
    limits: Limits,
}

impl Tokens {
    pub(super) fn new(parts: &Parts, streams: Streams) -> Self {
        Self {
            minter: Arc::clone(&parts.minter),
            clock: parts.clock.clone(),
            streams,
            lists: Lists::default(),
            one: parts.metrics.minting("MintToken"),
            many: parts.metrics.minting("MintTokens"),
            limits: parts.limits,
        }
    }

    /// Serves a call of `MintToken`.
    pub(super) fn serve_mint_token(self: &Arc<Self>, call: Call) -> CallFuture {
        let (method, max) = (MintToken(Arc::clone(self)), self.limits.request_bytes);
        let mut grpc = Grpc::new(ProstCodec::default())
            .apply_max_message_size_config(Some(max), None)
            .apply_compression_config(encodings(), EnabledCompressionEncodings::default());
        Box::pin(async move { Ok(grpc.unary(method, call).await) })
    }

    async fn mint_token(
        &self,
        mut request: Request<MintTokenRequest>,
    ) -> Result<Response<MintTokenResponse>, Status> {
        let Origin { deadline, access, .. } = Origin::take(&mut request)?;
        let planned = self.plan_one(request.into_inner(), &access);
        let (plan, identity) = planned.map_err(|refusal| {
            self.one.refused();
            access.refuse(refusal)
        })?;

        let quota = CallerQuota::new(&access, Quota::Tokens);
        match self.minter.mint(&plan, &identity, deadline, &quota).await {
            Ok(Minted { token, token_id, terms }) => {
                self.one.minted(plan.profile_metrics(), 1, terms.use_within);
                access.metrics().minted_one();
                let validity = Some(convert::validity(&terms, plan.grant_name()));
                Ok(Response::new(MintTokenResponse { token, token_id, validity }))
            }
            Err(unserved) => {
                let call = Ending { quota: Quota::Tokens, deadline, resume: None };
                Err(call.unserved(unserved, plan.grant_name(), &access, &self.one))
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

/// A call that ends without the requested tokens.
#[derive(Clone, Copy)]
struct Ending {
    quota: Quota,
    deadline: Option<Instant>,
    /// The index at which a bulk call resumes.
    resume: Option<i64>,
}

impl Ending {
    /// Counts the failure and builds its status.
    fn unserved(
        self,
        unserved: Unserved,
        grant: &str,
        access: &Access,
        metrics: &MintMetrics,
    ) -> Status {
        let Self { quota, deadline, resume } = self;
        match unserved.cause {
            Cause::QuotaExceeded => {
                metrics.refused();
                access.count_over_quota();
                let entry = access.entry_name();
                return status::quota_exceeded(entry, quota, unserved.retry_in, deadline, resume);
            }
            Cause::LivesTooLong(max_ttl) => {
                metrics.refused();
                return status::denied(&access.deny_lifetime(max_ttl), resume, deadline);
            }
            // A call that ends because the server drains, signs too slowly or cannot record does
            // not lack a grant.
            Cause::Draining | Cause::Overloaded | Cause::Unrecorded => {}
            _ => metrics.unserved(),
        }
        status::unserved(unserved, grant, deadline, resume)
    }
}
