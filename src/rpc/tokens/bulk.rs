//! `MintTokens`.

mod chunks;

use std::{future::Future, pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use tokio::time::{Instant, error::Elapsed, timeout_at};
use tonic::{
    Request, Response, Status,
    codec::EnabledCompressionEncodings,
    codegen::BoxFuture,
    server::{Grpc, ServerStreamingService},
};

use self::chunks::{Chunks, Unsigned};
use super::{Tokens, count};
use crate::{
    mint::{
        bulk::{Bulk, End, Selection},
        minter::ANSWER_ALLOWANCE,
    },
    rpc::{
        Answer, Call, convert, encodings,
        layers::deadline_of,
        proto::{
            IdentityList, IdentitySeries, MintTokensRequest, mint_tokens_request as selection,
        },
        status,
        streams::Place,
        violation::{BULK_TOO_LARGE, OPTION_INVALID, Refusal, SELECTION_INVALID, Violation},
    },
    telemetry::MintMetrics,
};

type Chunked = Pin<Box<dyn Stream<Item = Result<Unsigned, Status>> + Send>>;

impl Tokens {
    /// Answers a call of `MintTokens`.
    pub(in crate::rpc) fn answer_many(self: &Arc<Self>, call: Call) -> Answer {
        let (method, most) = (MintTokens(Arc::clone(self)), self.limits.bulk_request_bytes);
        let mut grpc = Grpc::new(Chunks)
            .apply_max_message_size_config(Some(most), None)
            .apply_compression_config(encodings(), EnabledCompressionEncodings::default());
        Box::pin(async move { Ok(grpc.server_streaming(method, call).await) })
    }

    async fn mint_tokens(
        &self,
        request: Request<MintTokensRequest>,
    ) -> Result<Response<Chunked>, Status> {
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
        let Some(place) = self.streams.open() else {
            self.many.unserved();
            return Err(status::overloaded(deadline, Some(start)));
        };
        let open = OpenBulk { bulk, metrics: self.many.clone(), _place: place };
        Ok(Response::new(Box::pin(stream::try_unfold(open, OpenBulk::next))))
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
            None => Err(Violation::new("selection", SELECTION_INVALID, "is missing")),
            Some(selection::Selection::IdentityList(IdentityList { identities }))
                if identities.len() > limits.identities =>
            {
                Err(Violation::new(LIST, BULK_TOO_LARGE, TOO_LARGE))
            }
            Some(selection::Selection::IdentityList(IdentityList { identities })) => {
                Selection::list(identities).await.map_err(Violation::from)
            }
            Some(selection::Selection::IdentitySeries(IdentitySeries { prefix, count })) => {
                Selection::series(prefix, count).map_err(Violation::from)
            }
        };
        let selection = selection.map_err(|violation| bad.push(violation)).ok();
        check_range(selection.as_ref(), start_index, limits.indices, &mut bad);
        if chunk_size < 0 {
            bad.push(Violation::new("chunk_size", OPTION_INVALID, "is negative"));
        }
        let plan = self.plan(options.as_ref(), bad)?;
        let Some(selection) = selection else { return Err(Refusal::Invalid(Vec::new())) };
        selection.check(&plan).await.map_err(Violation::from)?;
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

/// The method `MintTokens`.
struct MintTokens(Arc<Tokens>);

impl ServerStreamingService<MintTokensRequest> for MintTokens {
    type Response = Unsigned;
    type ResponseStream = Chunked;
    type Future = BoxFuture<Response<Chunked>, Status>;

    fn call(&mut self, request: Request<MintTokensRequest>) -> Self::Future {
        let tokens = Arc::clone(&self.0);
        Box::pin(async move { tokens.mint_tokens(request).await })
    }
}

/// A bulk that streams.
struct OpenBulk {
    bulk: Bulk,
    metrics: MintMetrics,
    _place: Place,
}

impl OpenBulk {
    async fn next(mut self) -> Result<Option<(Unsigned, Self)>, Status> {
        let Self { bulk, metrics, .. } = &mut self;
        match bulk.next_chunk().await {
            Ok(None) => Ok(None),
            Ok(Some(chunk)) => {
                let terms = chunk.terms();
                metrics.minted(chunk.count() as u64, terms.use_within);
                let validity = convert::validity(terms, bulk.grant_name());
                Ok(Some((Unsigned { chunk, validity }, self)))
            }
            Err(end) => {
                let resume = Some(bulk.next_index());
                Err(match end {
                    End::Deadline => status::deadline_exceeded(resume),
                    End::Unserved(unserved) => {
                        count(unserved, metrics);
                        status::unserved(unserved, bulk.grant_name(), bulk.deadline(), resume)
                    }
                })
            }
        }
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
        bad.push(Violation::new(field, SELECTION_INVALID, "selects nothing"));
    }
    match count {
        Some(count) if count > 0 && start >= 0 && count - start > most => {
            bad.push(Violation::new(field, BULK_TOO_LARGE, TOO_LARGE));
        }
        count if start < 0 || count.is_some_and(|count| (1..start).contains(&count)) => {
            let outside = "is outside the selection";
            bad.push(Violation::new("start_index", SELECTION_INVALID, outside));
        }
        _ => {}
    }
}

/// What comes of `work`, where that leaves time to answer in.
async fn in_time<F: Future>(deadline: Option<Instant>, work: F) -> Result<F::Output, Elapsed> {
    match deadline.map(|it| it.checked_sub(ANSWER_ALLOWANCE).unwrap_or(it)) {
        Some(answer_by) => timeout_at(answer_by, work).await,
        None => Ok(work.await),
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
