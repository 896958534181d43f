//! `MintTokens`.

mod chunks;

use std::{future::Future, pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use tokio::{
    sync::watch,
    time::{Instant, error::Elapsed, timeout_at},
};
use tonic::{
    Request, Response, Status,
    codec::EnabledCompressionEncodings,
    codegen::BoxFuture,
    server::{Grpc, ServerStreamingService},
};

use self::chunks::{Chunks, UnsignedChunk};
use super::{Ending, Tokens, rights::Rights};
use crate::{
    auth::{
        method::Method,
        refusal::Denied,
        usage::{self, Quota},
    },
    clock::{BootTime, Clock},
    drain::lifetime::Lifetime,
    mint::{
        RESPONSE_ALLOWANCE,
        bulk::{Bulk, End},
    },
    rpc::{
        Call, CallFuture,
        access::{Access, CallerQuota, StreamLimitReached},
        convert, encodings,
        layers::Origin,
        lists::List,
        proto::{IdentityList, MintTokensRequest, mint_tokens_request::Selection},
        status,
        streams::StreamPermit,
    },
    telemetry::MintMetrics,
};

/// A chunk must be read within its `use_within` divided by this.
const STALE_AFTER: u32 = 3;

type ChunkStream = Pin<Box<dyn Stream<Item = Result<UnsignedChunk, Status>> + Send>>;

impl Tokens {
    /// Serves a call of `MintTokens`.
    pub(in crate::rpc) fn serve_mint_tokens(self: &Arc<Self>, call: Call) -> CallFuture {
        let (method, max) = (MintTokens(Arc::clone(self)), self.limits.bulk_request_bytes);
        let mut grpc = Grpc::new(Chunks)
            .apply_max_message_size_config(Some(max), None)
            .apply_compression_config(encodings(), EnabledCompressionEncodings::default());
        Box::pin(async move { Ok(grpc.server_streaming(method, call).await) })
    }

    async fn mint_tokens(
        &self,
        mut request: Request<MintTokensRequest>,
    ) -> Result<Response<ChunkStream>, Status> {
        let Origin { deadline, access, lifetime } = Origin::take(&mut request)?;
        // Subscribe before the entries are checked, so that no change is missed.
        let changes = access.changes();
        let request = request.into_inner();
        let start = request.start_index;
        // Count the list before it is checked, since the check yields to other tasks.
        let list = match &request.selection {
            Some(Selection::IdentityList(IdentityList { identities })) => {
                let held = self.lists.hold(access.entry_name(), identities);
                Some(held.ok_or_else(|| {
                    self.many.unserved();
                    status::overloaded(deadline, Some(start))
                })?)
            }
            _ => None,
        };
        let planned = in_time(deadline, self.plan_bulk(request, deadline, &access)).await;
        let planned = planned.map_err(|_| {
            self.many.unserved();
            status::deadline_exceeded(Some(start))
        })?;
        let (bulk, rights) = planned.map_err(|refusal| {
            self.many.refused();
            access.refuse(refusal)
        })?;
        let Some(permit) = self.streams.open() else {
            self.many.unserved();
            return Err(status::overloaded(deadline, Some(start)));
        };
        let caller_permit = access.stream().map_err(|StreamLimitReached| {
            self.many.refused();
            status::streams_exceeded(access.entry_name(), deadline, Some(start))
        })?;
        let open = OpenBulk {
            bulk,
            rights,
            access,
            changes,
            lifetime,
            clock: self.clock.clone(),
            last: None,
            _list: list,
            metrics: self.many.clone(),
        };
        let chunks: ChunkStream = Box::pin(stream::try_unfold(open, OpenBulk::next));
        let mut response = Response::new(chunks);
        response
            .extensions_mut()
            .insert(Permits { _of_all: Arc::new(permit), _of_entry: caller_permit.map(Arc::new) });
        Ok(response)
    }
}

/// The method `MintTokens`.
struct MintTokens(Arc<Tokens>);

impl ServerStreamingService<MintTokensRequest> for MintTokens {
    type Response = UnsignedChunk;
    type ResponseStream = ChunkStream;
    type Future = BoxFuture<Response<ChunkStream>, Status>;

    fn call(&mut self, request: Request<MintTokensRequest>) -> Self::Future {
        let tokens = Arc::clone(&self.0);
        Box::pin(async move { tokens.mint_tokens(request).await })
    }
}

/// An open bulk stream.
struct OpenBulk {
    bulk: Bulk,
    rights: Rights,
    access: Access,
    /// Notifies of changes of callers' rights.
    changes: watch::Receiver<()>,
    lifetime: Lifetime,
    clock: Clock,
    last: Option<LastChunk>,
    /// The list that the bulk call keeps.
    _list: Option<List>,
    metrics: MintMetrics,
}

/// The stream permits of a bulk call. The transport keeps a response's extensions until the
/// response is written, which is later than its chunks are minted.
#[derive(Clone)]
struct Permits {
    _of_all: Arc<StreamPermit>,
    _of_entry: Option<Arc<usage::Permit>>,
}

/// The chunk that the transport requested last.
struct LastChunk {
    first_index: i64,
    /// The next chunk must be requested before this, or this one was read too late.
    stale: BootTime,
}

impl OpenBulk {
    /// Checks the caller's rights again if the entries have changed.
    async fn recheck_rights(&mut self) -> Result<(), Denied> {
        if !self.bulk.is_done() {
            self.access.caller().is_valid()?;
        }
        self.changes.mark_unchanged();
        let Some(access) = self.access.changed(Method::MintTokens)? else { return Ok(()) };
        let max_ttl = match self.rights.reach(&access)? {
            Some(reach) => {
                let (selection, from) = (self.bulk.selection(), self.bulk.next_index());
                self.rights.evaluate(&access, &reach, selection, from).await?
            }
            None => None,
        };
        let quota = Arc::new(CallerQuota::new(access.clone(), Quota::BulkTokens));
        self.bulk.change(max_ttl, quota);
        self.access = access;
        Ok(())
    }

    async fn next(mut self) -> Result<Option<(UnsignedChunk, Self)>, Status> {
        if let Some(LastChunk { first_index, stale }) = self.last
            && self.clock.now().boot > stale
        {
            return Err(status::chunk_stale(self.bulk.deadline(), first_index));
        }
        let chunk = loop {
            if let Err(denied) = self.recheck_rights().await {
                self.metrics.refused();
                return Err(status::denied(
                    &denied,
                    Some(self.bulk.next_index()),
                    self.bulk.deadline(),
                ));
            }
            let resume = Some(self.bulk.next_index());
            let (deadline, is_done) = (self.bulk.deadline(), self.bulk.is_done());
            // The loop tries again after each change: a chunk may wait for a grant or for quota.
            tokio::select! {
                biased;
                // The sender lives as long as the server.
                _ = self.changes.changed() => {}
                () = self.lifetime.ended(), if !is_done => {
                    return Err(status::lifetime_reached(deadline, resume));
                }
                denied = self.access.caller().ended(), if !is_done => {
                    return Err(status::denied(&denied, resume, deadline));
                }
                chunk = self.bulk.next_chunk() => break chunk,
            }
        };
        let Self { bulk, access, clock, last, metrics, .. } = &mut self;
        match chunk {
            Ok(None) => Ok(None),
            Ok(Some(chunk)) => {
                let terms = chunk.terms();
                let tokens = chunk.count() as u64;
                metrics.minted(bulk.profile_metrics(), tokens, terms.use_within);
                access.metrics().minted_many(tokens);
                let stale = clock.now().boot + terms.use_within / STALE_AFTER;
                *last = Some(LastChunk { first_index: chunk.first_index(), stale });
                let validity = convert::validity(terms, bulk.grant_name());
                Ok(Some((UnsignedChunk { chunk, validity }, self)))
            }
            Err(end) => {
                let resume = Some(bulk.next_index());
                Err(match end {
                    End::Deadline => status::deadline_exceeded(resume),
                    End::Unserved(unserved) => {
                        let (quota, deadline) = (Quota::BulkTokens, bulk.deadline());
                        let call = Ending { quota, deadline, resume };
                        call.unserved(unserved, bulk.grant_name(), access, metrics)
                    }
                })
            }
        }
    }
}

/// Runs `work`, with a time limit that leaves time to respond.
async fn in_time<F: Future>(deadline: Option<Instant>, work: F) -> Result<F::Output, Elapsed> {
    match deadline.map(|it| it.checked_sub(RESPONSE_ALLOWANCE).unwrap_or(it)) {
        Some(answer_by) => timeout_at(answer_by, work).await,
        None => Ok(work.await),
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_times_out_early_enough_to_respond() {
        let from = Instant::now();
        let deadline = Some(from + Duration::from_secs(1));
        assert!(in_time(deadline, pending::<()>()).await.is_err());
        assert_eq!(from.elapsed().as_millis(), 950, "before the outer deadline");
        assert!(in_time(deadline, async {}).await.is_ok(), "finished at once");
        let slow = tokio::time::sleep(Duration::from_secs(60));
        assert!(in_time(None, slow).await.is_ok());
    }
}
