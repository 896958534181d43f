//! One call on its HTTP/2 stream: the response is sent as far as the client's flow control allows.
//!
//! Only as much of a body as fits into the client's windows is passed to HTTP/2. So the call stays
//! open, and keeps its permits, until its client has read nearly all of it.

use std::{future::poll_fn, mem, pin::pin, task::Poll, time::Duration};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{Request, Response};
use http_body::Body;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{sleep, timeout},
};
use tower_service::Service;

use super::{Calls, refusals::Refusals, unread::Unread};
use crate::{
    rpc::{
        incoming::{ConnectionUploads, Incoming},
        layers::{Guarded, GuardedBody, Unverifiable},
    },
    telemetry::ResetMetrics,
};

/// The capacity that a client must provide before more is produced, while much is unread.
const MIN_CAPACITY: usize = 16 * 1024;

/// The unsent bytes of a body that do not delay producing more, or the end of the call.
const MAX_UNSENT: usize = 16 * 1024;

/// How long an idle call reserves capacity before it leaves the capacity to others.
const TURN_TIME: Duration = Duration::from_millis(50);

/// State shared by the calls of a connection.
pub(super) struct Exchanges {
    pub(super) unread: Unread,
    pub(super) refusals: Refusals,
    /// How long a client may keep its window closed.
    pub(super) stall: Duration,
    pub(super) resets: ResetMetrics,
    pub(super) uploads: ConnectionUploads,
    pub(super) turns: Turns,
}

/// While a connection is over its budget for unread bytes, its calls take turns: one at a time may
/// continue, since its client may read well even if others do not.
pub(super) struct Turns {
    /// The turn to produce a response.
    response: Semaphore,
    /// The turn to produce more of a stream whose client has little capacity.
    stream: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { response: Semaphore::new(1), stream: Semaphore::new(1) }
    }
}

/// Why a response was not sent completely.
enum SendError {
    /// The stream was reset, or the connection ended.
    Reset,
    /// The client kept its window closed for too long.
    Stalled,
}

impl From<h2::Error> for SendError {
    fn from(_: h2::Error) -> Self {
        Self::Reset
    }
}

impl Exchanges {
    /// Handles a call.
    pub(super) async fn serve<S: Calls>(
        &self,
        service: Guarded<S>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        let turn = match self.response_turn(&mut respond).await {
            Ok(turn) => turn,
            Err(error) => {
                if matches!(error, SendError::Stalled) {
                    self.resets.stalled();
                    respond.send_reset(Reason::CANCEL);
                }
                return;
            }
        };
        let request = request.map(|body| Incoming::new(body, self.uploads.clone()));
        let Some(response) = call_service(service, request, &mut respond).await else { return };
        let (mut head, body) = response.into_parts();
        // The permits are held as long as there is something to send.
        let is_unverifiable = head.extensions.remove::<Unverifiable>().is_some();
        let permits = mem::take(&mut head.extensions);
        // A stream needs no turn for its response head.
        let _turn = turn.filter(|_| body.is_unary());
        let head = Response::from_parts(head, ());
        if is_unverifiable {
            self.refusals.note_unverifiable();
        } else {
            self.refusals.note(head.headers());
        }
        if body.is_end_stream() {
            // Fails only if the stream has been reset.
            let _ = respond.send_response(head, true);
            return;
        }
        let Ok(stream) = respond.send_response(head, false) else { return };
        let (id, is_unary) = (stream.stream_id().as_u32(), body.is_unary());
        let mut sending = Sending { exchanges: self, id, is_unary, stream, turn: None };
        let Err(error) = sending.send(body).await else {
            if !permits.is_empty() {
                poll_fn(|cx| self.unread.poll_at_most(id, 0, cx)).await;
            }
            return;
        };
        if matches!(error, SendError::Stalled) {
            self.resets.stalled();
            sending.stream.send_reset(Reason::CANCEL);
        }
        self.unread.reset(sending.id);
    }

    /// Waits until a response may be produced. Takes a turn if too much is unread.
    async fn response_turn(
        &self,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<Option<SemaphorePermit<'_>>, SendError> {
        if !self.unread.is_over_budget() {
            return Ok(None);
        }
        let turn = async {
            while self.unread.is_over_budget() {
                if let Ok(turn) = timeout(TURN_TIME, self.turns.response.acquire()).await {
                    return turn.ok();
                }
            }
            None
        };
        tokio::select! {
            turn = timeout(self.stall, turn) => turn.map_err(|_| SendError::Stalled),
            _ = poll_fn(|cx| respond.poll_reset(cx)) => Err(SendError::Reset),
        }
    }
}

/// Calls the service. Returns `None` if the client resets the stream, which drops the call and
/// cancels its work.
async fn call_service<S: Calls>(
    mut service: Guarded<S>,
    request: Request<Incoming>,
    respond: &mut SendResponse<Bytes>,
) -> Option<Response<GuardedBody>> {
    let mut call = service.call(request);
    poll_fn(|cx| {
        if let Poll::Ready(Ok(response)) = call.as_mut().poll(cx) {
            return Poll::Ready(Some(response));
        }
        respond.poll_reset(cx).map(|_| None)
    })
    .await
}

/// A response being sent.
struct Sending<'a> {
    exchanges: &'a Exchanges,
    id: u32,
    is_unary: bool,
    stream: SendStream<Bytes>,
    /// Held until the data produced in this turn is written.
    turn: Option<SemaphorePermit<'a>>,
}

impl<'a> Sending<'a> {
    async fn send<B>(&mut self, body: B) -> Result<(), SendError>
    where
        B: Body<Data = Bytes>,
    {
        let mut body = pin!(body);
        loop {
            self.ready_for_more().await?;
            let frame = poll_fn(|cx| {
                if self.stream.poll_reset(cx)?.is_ready() {
                    return Poll::Ready(Err(SendError::Reset));
                }
                body.as_mut().poll_frame(cx).map(Ok)
            });
            match frame.await? {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.send_data(data).await?,
                    Err(frame) => {
                        let Ok(trailers) = frame.into_trailers() else { continue };
                        self.exchanges.refusals.note(&trailers);
                        // Releases reserved capacity of the connection's window.
                        self.stream.reserve_capacity(0);
                        return Ok(self.stream.send_trailers(trailers)?);
                    }
                },
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Err(SendError::Reset);
                }
                None => return Ok(self.stream.send_data(Bytes::new(), true)?),
            }
        }
    }

    /// Waits until nearly all of the produced data is written. While much is unread, also waits for
    /// the client's capacity. Unary responses are already produced and small.
    async fn ready_for_more(&mut self) -> Result<(), SendError> {
        let Self { exchanges: Exchanges { unread, .. }, id, stream, .. } = self;
        poll_fn(|cx| {
            if unread.poll_at_most(*id, MAX_UNSENT, cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            stream.poll_reset(cx).map(|_| Err(SendError::Reset))
        })
        .await?;
        self.turn = None;
        if !self.is_unary && unread.is_over_budget() {
            let Exchanges { stall, turns, .. } = self.exchanges;
            let capacity = timeout(*stall, self.wait_for_turn(&turns.stream)).await;
            self.turn = capacity.map_err(|_| SendError::Stalled)??;
        }
        Ok(())
    }

    /// Waits for enough capacity to produce more, or for a turn with less. Too little capacity is
    /// left to calls with data to send: some clients do not extend their window until all of it is
    /// used, and some never provide so much.
    async fn wait_for_turn(
        &mut self,
        turns: &'a Semaphore,
    ) -> Result<Option<SemaphorePermit<'a>>, SendError> {
        loop {
            self.stream.reserve_capacity(MIN_CAPACITY);
            if let Ok(result) = timeout(TURN_TIME, self.wait_for_capacity(MIN_CAPACITY)).await {
                return result.map(|()| None);
            }
            if self.stream.capacity() > 0
                && let Ok(turn) = turns.try_acquire()
            {
                return Ok(Some(turn));
            }
            self.stream.reserve_capacity(0);
            sleep(TURN_TIME).await;
        }
    }

    async fn send_data(&mut self, mut data: Bytes) -> Result<(), SendError> {
        let Exchanges { unread, stall, .. } = self.exchanges;
        unread.produced(self.id, data.len());
        while !data.is_empty() {
            self.stream.reserve_capacity(data.len());
            if self.stream.capacity() == 0 {
                timeout(*stall, self.wait_for_capacity(1))
                    .await
                    .map_err(|_| SendError::Stalled)??;
            }
            // Sends all that fits: if the client accepts large frames, a whole chunk is one frame,
            // which is written without copying.
            let fits = data.len().min(self.stream.capacity());
            self.stream.send_data(data.split_to(fits), false)?;
        }
        Ok(())
    }

    /// Waits until the client has capacity for `bytes`, or resets the stream.
    async fn wait_for_capacity(&mut self, bytes: usize) -> Result<(), SendError> {
        while self.stream.capacity() < bytes {
            let more = poll_fn(|cx| self.stream.poll_capacity(cx)).await;
            more.ok_or(SendError::Reset)??;
        }
        Ok(())
    }
}
