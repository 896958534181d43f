//! One call on its HTTP/2 stream: its response and body are sent as far as the client has room.
//!
//! Of a body, only what fits in the client's windows is handed to HTTP/2, so that the call is
//! open, and holds what it holds, until its client has read nearly all of it.

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
    telemetry::CutMetrics,
};

/// The room that a client must have before more is made for it while much is unread.
const PIECE: usize = 16 * 1024;

/// What of a call's body may be unread when more of it is made, and when the call ends.
const LEFT: usize = 16 * 1024;

/// How long room is kept, and then left to others, by a call that has nothing to send yet.
const TURN: Duration = Duration::from_millis(50);

/// What the exchanges of one connection share.
pub(super) struct Exchanges {
    pub(super) unread: Unread,
    pub(super) refusals: Refusals,
    /// How long a client may leave its window closed.
    pub(super) stall: Duration,
    pub(super) cut: CutMetrics,
    pub(super) uploads: ConnectionUploads,
    pub(super) turns: Turns,
}

/// Who goes on while more is unread than may be: one at a time, since its client may read well
/// whatever others do.
pub(super) struct Turns {
    /// To make an answer.
    answer: Semaphore,
    /// To make more of a stream whose client has little room.
    stream: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { answer: Semaphore::new(1), stream: Semaphore::new(1) }
    }
}

/// Why an answer was not sent whole.
enum Unsent {
    /// The client, or the connection's end, reset the stream.
    Reset,
    /// The client kept its window closed for too long.
    Stalled,
}

impl From<h2::Error> for Unsent {
    fn from(_: h2::Error) -> Self {
        Self::Reset
    }
}

impl Exchanges {
    /// Answers one call.
    pub(super) async fn answer<S: Calls>(
        &self,
        service: Guarded<S>,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
    ) {
        let turn = match self.turn_to_answer(&mut respond).await {
            Ok(turn) => turn,
            Err(unsent) => {
                if matches!(unsent, Unsent::Stalled) {
                    self.cut.stalled();
                    respond.send_reset(Reason::CANCEL);
                }
                return;
            }
        };
        let request = request.map(|body| Incoming::new(body, self.uploads.clone()));
        let Some(response) = made(service, request, &mut respond).await else { return };
        let (mut head, body) = response.into_parts();
        // Held as long as there is something to send.
        let is_unverifiable = head.extensions.remove::<Unverifiable>().is_some();
        let places = mem::take(&mut head.extensions);
        // That of a stream only begins here.
        let _turn = turn.filter(|_| body.is_unary());
        let head = Response::from_parts(head, ());
        if is_unverifiable {
            self.refusals.note_unverifiable();
        } else {
            self.refusals.note(head.headers());
        }
        if body.is_end_stream() {
            // Fails only where the stream has been reset.
            let _ = respond.send_response(head, true);
            return;
        }
        let Ok(stream) = respond.send_response(head, false) else { return };
        let (id, is_unary) = (stream.stream_id().as_u32(), body.is_unary());
        let mut sending = Sending { exchanges: self, id, is_unary, stream, turn: None };
        let Err(unsent) = sending.send(body).await else {
            if !places.is_empty() {
                poll_fn(|cx| self.unread.poll_at_most(id, 0, cx)).await;
            }
            return;
        };
        if matches!(unsent, Unsent::Stalled) {
            self.cut.stalled();
            sending.stream.send_reset(Reason::CANCEL);
        }
        self.unread.dropped(sending.id);
    }

    /// Waits until an answer may be made; while too much is unread, with a turn for it.
    async fn turn_to_answer(
        &self,
        respond: &mut SendResponse<Bytes>,
    ) -> Result<Option<SemaphorePermit<'_>>, Unsent> {
        if !self.unread.is_over_budget() {
            return Ok(None);
        }
        let turn = async {
            while self.unread.is_over_budget() {
                if let Ok(turn) = timeout(TURN, self.turns.answer.acquire()).await {
                    return turn.ok();
                }
            }
            None
        };
        tokio::select! {
            turn = timeout(self.stall, turn) => turn.map_err(|_| Unsent::Stalled),
            _ = poll_fn(|cx| respond.poll_reset(cx)) => Err(Unsent::Reset),
        }
    }
}

/// The response to a call; none where the client resets the stream, which drops the call and so
/// stops the work for it.
async fn made<S: Calls>(
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

/// A response under way.
struct Sending<'a> {
    exchanges: &'a Exchanges,
    id: u32,
    is_unary: bool,
    stream: SendStream<Bytes>,
    /// Held until what was made in it is written.
    turn: Option<SemaphorePermit<'a>>,
}

impl<'a> Sending<'a> {
    async fn send<B>(&mut self, body: B) -> Result<(), Unsent>
    where
        B: Body<Data = Bytes>,
    {
        let mut body = pin!(body);
        loop {
            self.may_make_more().await?;
            let frame = poll_fn(|cx| {
                if self.stream.poll_reset(cx)?.is_ready() {
                    return Poll::Ready(Err(Unsent::Reset));
                }
                body.as_mut().poll_frame(cx).map(Ok)
            });
            match frame.await? {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.send_data(data).await?,
                    Err(frame) => {
                        let Ok(trailers) = frame.into_trailers() else { continue };
                        self.exchanges.refusals.note(&trailers);
                        // What is reserved of the connection's window is free for others.
                        self.stream.reserve_capacity(0);
                        return Ok(self.stream.send_trailers(trailers)?);
                    }
                },
                Some(Err(_)) => {
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Err(Unsent::Reset);
                }
                None => return Ok(self.stream.send_data(Bytes::new(), true)?),
            }
        }
    }

    /// Waits until nearly all that was made is written, and, where much is unread elsewhere,
    /// until the client has room for more. A unary answer is made already, and small.
    async fn may_make_more(&mut self) -> Result<(), Unsent> {
        let Self { exchanges: Exchanges { unread, .. }, id, stream, .. } = self;
        poll_fn(|cx| {
            if unread.poll_at_most(*id, LEFT, cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            stream.poll_reset(cx).map(|_| Err(Unsent::Reset))
        })
        .await?;
        self.turn = None;
        if !self.is_unary && unread.is_over_budget() {
            let Exchanges { stall, turns, .. } = self.exchanges;
            let room = timeout(*stall, self.room_for_a_piece(&turns.stream)).await;
            self.turn = room.map_err(|_| Unsent::Stalled)??;
        }
        Ok(())
    }

    /// Waits until the client has room for a piece that has not been made yet, or for a turn with
    /// less. Room that is too little is left to calls that have something to send: a client may
    /// make no more before all of it is used, and some never make so much.
    async fn room_for_a_piece(
        &mut self,
        turns: &'a Semaphore,
    ) -> Result<Option<SemaphorePermit<'a>>, Unsent> {
        loop {
            self.stream.reserve_capacity(PIECE);
            if let Ok(room) = timeout(TURN, self.room_for(PIECE)).await {
                return room.map(|()| None);
            }
            if self.stream.capacity() > 0
                && let Ok(turn) = turns.try_acquire()
            {
                return Ok(Some(turn));
            }
            self.stream.reserve_capacity(0);
            sleep(TURN).await;
        }
    }

    async fn send_data(&mut self, mut data: Bytes) -> Result<(), Unsent> {
        let Exchanges { unread, stall, .. } = self.exchanges;
        unread.made(self.id, data.len());
        while !data.is_empty() {
            self.stream.reserve_capacity(data.len());
            if self.stream.capacity() == 0 {
                timeout(*stall, self.room_for(1)).await.map_err(|_| Unsent::Stalled)??;
            }
            // All that fits at once: where the client takes large frames, a whole chunk is one
            // frame, which is written as it is.
            let fits = data.len().min(self.stream.capacity());
            self.stream.send_data(data.split_to(fits), false)?;
        }
        Ok(())
    }

    /// Waits until the client has room for that many bytes, or resets the stream.
    async fn room_for(&mut self, bytes: usize) -> Result<(), Unsent> {
        while self.stream.capacity() < bytes {
            let more = poll_fn(|cx| self.stream.poll_capacity(cx)).await;
            more.ok_or(Unsent::Reset)??;
        }
        Ok(())
    }
}
