//! `TokenService`.

use std::{future::Future, pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use tokio::time::{Instant, error::Elapsed, timeout_at};
use tonic::{Request, Response, Status};

use super::{
    Parts, convert,
    layers::deadline_of,
    proto::{
        self, IdentityList, IdentitySeries, MintTokenRequest, MintTokenResponse, MintTokensRequest,
        MintTokensResponse, mint_tokens_request as selection, token_service_server::TokenService,
    },
    status,
};
use crate::{
    drain::Drain,
    mint::{
        bulk::{Bulk, Chunk, End, Selection},
        minter::{ANSWER_ALLOWANCE, Minted, Minter, Plan},
        options::{Invalid, Refusal, Violation},
    },
    name::Identity,
    telemetry::MintMetrics,
};

pub(super) struct Tokens {
    minter: Arc<Minter>,
    drain: Drain,
    one: MintMetrics,
    many: MintMetrics,
}

impl Tokens {
    pub(super) fn new(parts: &Parts) -> Self {
        Self {
            minter: Arc::clone(&parts.minter),
            drain: parts.drain.clone(),
            one: parts.metrics.minting("MintToken"),
            many: parts.metrics.minting("MintTokens"),
        }
    }

    /// Plans a call; `more` are bad fields beside the options.
    fn plan(
        &self,
        options: Option<&proto::MintOptions>,
        more: Vec<Violation>,
    ) -> Result<Plan, Refusal> {
        let (options, bad) = convert::options(options);
        match self.minter.plan(&options, bad) {
            Ok(plan) if more.is_empty() => Ok(plan),
            Ok(_) => Err(Refusal::Invalid(more)),
            Err(Refusal::Invalid(mut bad)) => {
                bad.extend(more);
                Err(Refusal::Invalid(bad))
            }
            Err(refusal) => Err(refusal),
        }
    }

    async fn plan_bulk(
        &self,
        request: MintTokensRequest,
        deadline: Option<Instant>,
    ) -> Result<Bulk, Refusal> {
        let MintTokensRequest { options, selection, start_index, chunk_size } = request;
        let limits = self.minter.limits();
        let mut bad = Vec::new();
        let selection = match selection {
            None => Err(Violation::new("selection", Invalid::Selection, "is missing")),
            Some(selection::Selection::IdentityList(IdentityList { identities }))
                if identities.len() > limits.identities =>
            {
                Err(Violation::new(LIST, Invalid::BulkTooLarge, TOO_LARGE))
            }
            Some(selection::Selection::IdentityList(IdentityList { identities })) => {
                Selection::list(identities).await
            }
            Some(selection::Selection::IdentitySeries(IdentitySeries { prefix, count })) => {
                Selection::series(prefix, count)
            }
        };
        let selection = selection.map_err(|violation| bad.push(violation)).ok();
        check_range(selection.as_ref(), start_index, limits.indices, &mut bad);
        if chunk_size < 0 {
            bad.push(Violation::new("chunk_size", Invalid::Option, "is negative"));
        }
        let plan = self.plan(options.as_ref(), bad)?;
        let Some(selection) = selection else { return Err(Refusal::Invalid(Vec::new())) };
        Ok(Bulk::new(
            Arc::clone(&self.minter),
            self.drain.clone(),
            plan,
            selection,
            start_index,
            chunk_size,
            deadline,
        ))
    }
}

const LIST: &str = "identity_list.identities";
const COUNT: &str = "identity_series.count";
const TOO_LARGE: &str = "has more than one call may ask for";

/// Checks where a selection begins and ends; of one that is bad itself, what can be told yet.
fn check_range(selection: Option<&Selection>, start: i64, most: i64, bad: &mut Vec<Violation>) {
    let count = selection.map(Selection::count);
    let field = match selection {
        Some(Selection::Series { .. }) => COUNT,
        _ => LIST,
    };
    if count.is_some_and(|count| count <= 0) {
        bad.push(Violation::new(field, Invalid::Selection, "selects nothing"));
    }
    match count {
        Some(count) if count > 0 && start >= 0 && count - start > most => {
            bad.push(Violation::new(field, Invalid::BulkTooLarge, TOO_LARGE));
        }
        count if start < 0 || count.is_some_and(|count| (1..start).contains(&count)) => {
            let outside = "is outside the selection";
            bad.push(Violation::new("start_index", Invalid::Selection, outside));
        }
        _ => {}
    }
}

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn mint_token(
        &self,
        request: Request<MintTokenRequest>,
    ) -> Result<Response<MintTokenResponse>, Status> {
        let deadline = deadline_of(&request);
        let MintTokenRequest { options, identity } = request.into_inner();
        let mut bad = Vec::new();
        let identity = Identity::parse(identity).map_err(|error| {
            bad.push(Violation::new("identity", Invalid::Identity, error.as_str()));
        });
        let plan = self.plan(options.as_ref(), bad).and_then(|plan| match identity {
            Ok(identity) => Ok((plan, identity)),
            Err(()) => Err(Refusal::Invalid(Vec::new())),
        });
        let (plan, identity) = plan.map_err(|refusal| {
            self.one.refused();
            status::refused(refusal)
        })?;

        match self.minter.mint(&plan, &identity, deadline).await {
            Ok(Minted { token, token_id, terms }) => {
                self.one.minted(1);
                let validity = Some(convert::validity(&terms, plan.grant_name()));
                Ok(Response::new(MintTokenResponse { token, token_id, validity }))
            }
            Err(unserved) => {
                self.one.unserved();
                Err(status::unserved(unserved, plan.grant_name(), deadline, None))
            }
        }
    }

    type MintTokensStream = Pin<Box<dyn Stream<Item = Result<MintTokensResponse, Status>> + Send>>;

    async fn mint_tokens(
        &self,
        request: Request<MintTokensRequest>,
    ) -> Result<Response<Self::MintTokensStream>, Status> {
        let deadline = deadline_of(&request);
        let request = request.into_inner();
        let start = request.start_index;
        let planned = in_time(deadline, self.plan_bulk(request, deadline)).await;
        let planned = planned.map_err(|_| {
            self.many.unserved();
            status::deadline_exceeded(Some(start))
        })?;
        let bulk = planned.map_err(|refusal| {
            self.many.refused();
            status::refused(refusal)
        })?;
        let metrics = self.many.clone();
        Ok(Response::new(Box::pin(stream::try_unfold((bulk, metrics), next_chunk))))
    }
}

/// What comes of `work`, where that leaves time to answer in.
async fn in_time<F: Future>(deadline: Option<Instant>, work: F) -> Result<F::Output, Elapsed> {
    match deadline.map(|it| it.checked_sub(ANSWER_ALLOWANCE).unwrap_or(it)) {
        Some(answer_by) => timeout_at(answer_by, work).await,
        None => Ok(work.await),
    }
}

async fn next_chunk(
    (mut bulk, metrics): (Bulk, MintMetrics),
) -> Result<Option<(MintTokensResponse, (Bulk, MintMetrics))>, Status> {
    match bulk.next_chunk().await {
        Ok(None) => Ok(None),
        Ok(Some(Chunk { tokens, first_index, terms })) => {
            metrics.minted(tokens.len() as u64);
            let validity = Some(convert::validity(&terms, bulk.grant_name()));
            let response = MintTokensResponse { tokens, first_index, validity };
            Ok(Some((response, (bulk, metrics))))
        }
        Err(end) => {
            metrics.unserved();
            let resume = Some(bulk.next_index());
            Err(match end {
                End::Deadline => status::deadline_exceeded(resume),
                End::Unserved(unserved) => {
                    status::unserved(unserved, bulk.grant_name(), bulk.deadline(), resume)
                }
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_ends_while_there_is_time_to_answer() {
        let from = Instant::now();
        let deadline = Some(from + Duration::from_secs(1));
        assert!(in_time(deadline, pending::<()>()).await.is_err());
        assert_eq!(from.elapsed().as_millis(), 950, "before the layer around it cuts");
        assert!(in_time(deadline, async {}).await.is_ok(), "what is done at once is done");
        let slow = tokio::time::sleep(Duration::from_secs(60));
        assert!(in_time(None, slow).await.is_ok());
    }
}
