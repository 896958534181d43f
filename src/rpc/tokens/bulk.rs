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
        bulk::{Bulk, End},
        minter::ANSWER_ALLOWANCE,
    },
    rpc::{
        Answer, Call, convert, encodings, layers::deadline_of, proto::MintTokensRequest, status,
        streams::Place,
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
