//! HTTP/2 on one connection: limits, calls, and keep-alive pings.
//!
//! This uses h2 directly. hyper exposes neither a call's stream nor how much of a response is
//! unsent, and both are needed to detect clients that do not read.

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
    calls::NewCalls,
    exchange::Exchanges,
    socket::{BytesRead, Io, Socket},
};
use crate::rpc::layers::Guarded;

/// The bytes of responses that HTTP/2 buffers per stream while the socket is not writable: a chunk
/// of 96 KiB with its framing, and the rest of the previous one.
const SEND_BUFFER: usize = 128 * 1024;

const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Fits a bearer token of 8 KiB, and a somewhat longer one so that it can be refused properly.
const MAX_HEADER_BYTES: u32 = 12 * 1024;
const HEADER_TABLE: u32 = 4_096;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How the HTTP/2 connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// It was closed by either side without an error.
    Closed,
    /// A socket error or an HTTP/2 error occurred.
    Failed(h2::Error),
    /// The client did not respond to a ping.
    NoPong,
}

/// A connection as a future that completes when the connection ends.
pub(super) struct Http2<I: Io, S> {
    state: State<I>,
    /// Whether a shutdown was requested before the handshake completed.
    shutdown_requested: bool,
    read: BytesRead,
    service: Guarded<S>,
    new_calls: NewCalls,
    exchanges: Arc<Exchanges>,
}

enum State<I: Io> {
    Handshake(Handshake<Socket<I>, Bytes>),
    Serving(Connection<Socket<I>, Bytes>, Option<KeepAlive>),
}

/// No field is structurally pinned.
impl<I: Io, S> Unpin for Http2<I, S> {}

impl<I: Io, S: Calls> Http2<I, S> {
    pub(super) fn new(
        socket: Socket<I>,
        streams: u32,
        service: Guarded<S>,
        new_calls: NewCalls,
        exchanges: Arc<Exchanges>,
    ) -> Self {
        let read = socket.bytes_read();
        let state = State::Handshake(builder(streams).handshake(socket));
        Self { state, shutdown_requested: false, read, service, new_calls, exchanges }
    }

    /// Sends a GOAWAY. The connection ends with its last stream.
    pub(super) fn go_away(self: Pin<&mut Self>) {
        let this = self.get_mut();
        match &mut this.state {
            State::Handshake(_) => this.shutdown_requested = true,
            State::Serving(connection, _) => connection.graceful_shutdown(),
        }
    }
}

impl<I: Io, S> Http2<I, S> {
    /// Refuses the connection: it ends after its GOAWAY is sent.
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
        // The socket limits both per time.
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
            if this.shutdown_requested {
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
                    this.new_calls.add(async move {
                        exchanges.serve(service, request, respond).await;
                    });
                }
                Some(Err(error)) => return Poll::Ready(Ended::Failed(error)),
                None => return Poll::Ready(Ended::Closed),
            }
        }
    }
}

/// Pings an idle client and waits for its response.
struct KeepAlive {
    ping: PingPong,
    read: usize,
    state: Liveness,
    timer: Pin<Box<Sleep>>,
}

enum Liveness {
    /// Pinged when the timer expires, unless something has been read by then.
    Alive,
    /// A ping was sent. The connection ends when the timer expires.
    Pinged,
}

impl KeepAlive {
    fn new(ping: PingPong) -> Self {
        let timer = Box::pin(sleep(KEEP_ALIVE_INTERVAL));
        Self { ping, read: 0, state: Liveness::Alive, timer }
    }

    /// Ready when the client is gone. `read` is the number of bytes read so far.
    fn poll(&mut self, cx: &mut Context<'_>, read: usize) -> Poll<()> {
        if matches!(self.state, Liveness::Pinged) && self.ping.poll_pong(cx).is_ready() {
            self.wait(Liveness::Alive, KEEP_ALIVE_INTERVAL, read);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            match self.state {
                Liveness::Pinged => return Poll::Ready(()),
                Liveness::Alive if self.read != read => {
                    self.wait(Liveness::Alive, KEEP_ALIVE_INTERVAL, read);
                }
                Liveness::Alive => {
                    // Fails only if the connection has ended, which its own poll reports.
                    let _ = self.ping.send_ping(Ping::opaque());
                    let _ = self.ping.poll_pong(cx);
                    self.wait(Liveness::Pinged, KEEP_ALIVE_TIMEOUT, read);
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
