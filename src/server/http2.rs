//! HTTP/2 on one connection: its limits, its calls, and the pings that find a dead peer.
//!
//! It is driven with h2 directly: hyper says neither which stream a call is on nor what of an
//! answer is left to be sent, and both decide whether a client reads.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong, Reason,
    server::{Builder, Connection, Handshake},
};
use tokio::time::{Instant, Sleep, sleep};

use super::{
    Calls,
    calls::Arrivals,
    exchange::Exchanges,
    socket::{BytesRead, Io, Socket},
};
use crate::rpc::layers::Guarded;

/// Answers that HTTP/2 holds of each stream while the socket takes no more: a chunk of 96 KiB
/// with its framing, and what may be left of the one before it.
const SEND_BUFFER: usize = 128 * 1024;

const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// A bearer token of 8 KiB has room, and so has what is too long a one, to be told so.
const MAX_HEADER_BYTES: u32 = 12 * 1024;
const HEADER_TABLE: u32 = 4_096;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How HTTP/2 ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// In order, or without a word.
    Closed,
    /// By an error of the socket or of the client's.
    Failed(h2::Error),
    /// The client did not answer a ping.
    NoPong,
}

/// A connection as a future: it ends with the connection.
pub(super) struct Http2<I: Io, S> {
    state: State<I>,
    /// Told to go before the handshake was done.
    leaving: bool,
    read: BytesRead,
    service: Guarded<S>,
    arrivals: Arrivals,
    exchanges: Arc<Exchanges>,
}

enum State<I: Io> {
    Handshake(Handshake<Socket<I>, Bytes>),
    Serving(Connection<Socket<I>, Bytes>, Option<KeepAlive>),
}

/// Nothing in it is pinned where it stands.
impl<I: Io, S> Unpin for Http2<I, S> {}

impl<I: Io, S: Calls> Http2<I, S> {
    pub(super) fn new(
        socket: Socket<I>,
        streams: u32,
        service: Guarded<S>,
        arrivals: Arrivals,
        exchanges: Arc<Exchanges>,
    ) -> Self {
        let read = socket.bytes_read();
        let state = State::Handshake(builder(streams).handshake(socket));
        Self { state, leaving: false, read, service, arrivals, exchanges }
    }

    /// Tells the client to open no more streams. The connection ends with the last of them.
    pub(super) fn go_away(self: Pin<&mut Self>) {
        let this = self.get_mut();
        match &mut this.state {
            State::Handshake(_) => this.leaving = true,
            State::Serving(connection, _) => connection.graceful_shutdown(),
        }
    }
}

impl<I: Io, S> Http2<I, S> {
    /// Refuses to serve: the connection ends as soon as it has said so.
    pub(super) fn refuse(self: Pin<&mut Self>) {
        if let State::Serving(connection, _) = &mut self.get_mut().state {
            connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
    }
}

fn builder(streams: u32) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(streams)
        // The socket limits both by rate.
        .max_local_error_reset_streams(None)
        .max_pending_accept_reset_streams(usize::MAX)
        .max_send_buffer_size(SEND_BUFFER)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES)
        .header_table_size(HEADER_TABLE);
    builder
}

impl<I: Io, S: Calls> Future for Http2<I, S> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let this = &mut *self;
        if let State::Handshake(handshake) = &mut this.state {
            let mut connection = match ready!(Pin::new(handshake).poll(cx)) {
                Ok(connection) => connection,
                Err(error) => return Poll::Ready(Ended::Failed(error)),
            };
            if this.leaving {
                connection.graceful_shutdown();
            }
            let keep_alive = connection.ping_pong().map(KeepAlive::new);
            this.state = State::Serving(connection, keep_alive);
        }
        let State::Serving(connection, keep_alive) = &mut this.state else { return Poll::Pending };
        loop {
            let accepted = connection.poll_accept(cx);
            if let Some(keep_alive) = keep_alive
                && keep_alive.poll(cx, this.read.get()).is_ready()
            {
                return Poll::Ready(Ended::NoPong);
            }
            match ready!(accepted) {
                Some(Ok((request, respond))) => {
                    let (service, exchanges) = (this.service.clone(), Arc::clone(&this.exchanges));
                    this.arrivals.add(async move {
                        exchanges.answer(service, request, respond).await;
                    });
                }
                Some(Err(error)) => return Poll::Ready(Ended::Failed(error)),
                None => return Poll::Ready(Ended::Closed),
            }
        }
    }
}

/// Pings a client that is silent, and waits for its answer.
struct KeepAlive {
    ping: PingPong,
    read: usize,
    state: Liveness,
    timer: Pin<Box<Sleep>>,
}

enum Liveness {
    /// Asked for again at the timer's end, unless something has been read by then.
    Alive,
    /// A ping is out: the timer's end is the connection's.
    Asked,
}

impl KeepAlive {
    fn new(ping: PingPong) -> Self {
        let timer = Box::pin(sleep(KEEP_ALIVE_INTERVAL));
        Self { ping, read: 0, state: Liveness::Alive, timer }
    }

    /// Ready where the client is gone. `read` is how many bytes have been read so far.
    fn poll(&mut self, cx: &mut Context<'_>, read: usize) -> Poll<()> {
        if matches!(self.state, Liveness::Asked) && self.ping.poll_pong(cx).is_ready() {
            self.wait(Liveness::Alive, KEEP_ALIVE_INTERVAL, read);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            match self.state {
                Liveness::Asked => return Poll::Ready(()),
                Liveness::Alive if self.read != read => {
                    self.wait(Liveness::Alive, KEEP_ALIVE_INTERVAL, read);
                }
                Liveness::Alive => {
                    // Fails only where the connection has ended, which its own poll reports.
                    let _ = self.ping.send_ping(Ping::opaque());
                    let _ = self.ping.poll_pong(cx);
                    self.wait(Liveness::Asked, KEEP_ALIVE_TIMEOUT, read);
                }
            }
        }
        Poll::Pending
    }

    fn wait(&mut self, state: Liveness, time: Duration, read: usize) {
        (self.state, self.read) = (state, read);
        self.timer.as_mut().reset(Instant::now() + time);
    }
}
