//! A connection's socket. It counts the bytes read, to detect silent clients. It buffers writes:
//! HTTP/2 writes each response separately, and a system call for a small response costs more than
//! producing it.

use std::{
    future::{Future, poll_fn},
    io::{self, IoSlice},
    mem,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    thread,
};

use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Sleep, sleep_until},
};

use super::{
    calls::OpenCalls,
    exceeded::ExceededLimit,
    frames::{Received, Sent},
    refusals::Refusals,
    unread::{ReadMonitor, Unread},
};

/// The stream of a connection: TCP, TLS or a Unix socket.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for S {}

/// The size of the write buffer. Larger writes bypass it.
const BUFFER_SIZE: usize = 32 * 1024;

/// After writing this much of a bulk response, about one chunk, other connections are considered.
const YIELD_BYTES: usize = 64 * 1024;

/// Counts completed calls on all connections of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct CompletedCalls(Arc<AtomicUsize>);

/// The size of the HTTP/2 preface and an empty SETTINGS frame.
const PREFACE_BYTES: usize = 24 + 9;

/// Counts the bytes read from a socket.
#[derive(Clone, Default)]
pub(super) struct BytesRead(Arc<Read>);

#[derive(Default)]
struct Read {
    bytes: AtomicUsize,
    preface: Notify,
}

impl BytesRead {
    pub(super) fn get(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        let before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if before < PREFACE_BYTES && before + bytes >= PREFACE_BYTES {
            self.0.preface.notify_one();
        }
    }

    /// Whether at least the shortest preface has been read.
    pub(super) fn has_preface(&self) -> bool {
        self.get() >= PREFACE_BYTES
    }

    /// Waits until at least the shortest preface has been read. Completes only once.
    pub(super) async fn preface(&self) {
        self.0.preface.notified().await;
    }
}

/// Counters shared by a socket and its connection.
pub(super) struct SocketState {
    pub(super) completed: CompletedCalls,
    pub(super) unread: Unread,
    pub(super) refusals: Refusals,
}

/// Splits a stream into the socket that HTTP/2 uses and its driver.
pub(super) fn split<S: Io>(stream: S, state: SocketState) -> (Socket<S>, Driver<S>) {
    let SocketState { completed, unread, refusals } = state;
    let output = Output {
        stream,
        unflushed: false,
        buffer: BytesMut::new(),
        written: 0,
        completed_here: 0,
        completed_elsewhere: 0,
        sent: Sent::new(unread.clone()),
        exceeded: None,
    };
    let output = Arc::new(Mutex::new(output));
    let read = BytesRead::default();
    let driver = Driver { read, frames: Arc::default(), output, completed };
    let received = Received::new(unread);
    (Socket { driver: driver.clone(), received, frames: 0, refusals, pause: None }, driver)
}

/// The socket that HTTP/2 reads from and writes to.
pub(super) struct Socket<S> {
    driver: Driver<S>,
    received: Received,
    /// The number of frames sent when it was last read.
    frames: usize,
    refusals: Refusals,
    /// Set while reading is paused.
    pause: Option<Pin<Box<Sleep>>>,
}

/// Drives the connection and writes buffered data.
pub(super) struct Driver<S> {
    read: BytesRead,
    /// The number of frames sent.
    frames: Arc<AtomicUsize>,
    output: Arc<Mutex<Output<S>>>,
    completed: CompletedCalls,
}

impl<S> Clone for Driver<S> {
    fn clone(&self) -> Self {
        Self {
            read: self.read.clone(),
            frames: Arc::clone(&self.frames),
            output: Arc::clone(&self.output),
            completed: self.completed.clone(),
        }
    }
}

struct Output<S> {
    /// Both directions: a TLS session cannot be split, and a connection runs in one task.
    stream: S,
    /// Whether the stream may hold written but unflushed bytes.
    unflushed: bool,
    /// The write buffer; contains tokens.
    buffer: BytesMut,
    /// The bytes written since a call of this connection completed, or since the last
    /// [`YIELD_BYTES`].
    written: usize,
    completed_here: usize,
    /// Its value when [`YIELD_BYTES`] were last written.
    completed_elsewhere: usize,
    sent: Sent,
    /// Why the connection must be closed.
    exceeded: Option<ExceededLimit>,
}

impl<S: Io> Driver<S> {
    /// The counter of bytes read.
    pub(super) fn bytes_read(&self) -> &BytesRead {
        &self.read
    }

    /// Runs `connection` and its calls until the connection ends or its client exceeds a limit.
    /// Responses are buffered, and written after all calls have been polled.
    pub(super) async fn run<F: Future>(
        &self,
        mut connection: Pin<&mut F>,
        calls: &mut OpenCalls,
        unread: &mut ReadMonitor,
    ) -> Result<F::Output, ExceededLimit> {
        poll_fn(|cx| {
            let mut polled = connection.as_mut().poll(cx);
            let mut completed = 0;
            while polled.is_pending()
                && let Some(finished) = calls.poll(cx)
            {
                completed += finished;
                polled = connection.as_mut().poll(cx);
                if calls.all_polled() {
                    break;
                }
            }
            let mut output = self.output();
            // The connection reports write errors when it reads.
            let _ = output.poll_drain(cx);
            if self.should_yield(completed, &mut output) {
                thread::yield_now();
            }
            match output.exceeded {
                Some(exceeded) => return Poll::Ready(Err(exceeded)),
                None if polled.is_ready() => return polled.map(Ok),
                None => drop(output),
            }
            let exceeded = ready!(unread.poll(cx));
            Poll::Ready(Err(exceeded))
        })
        .await
    }

    /// Whether the thread has written so much of a bulk response that it should yield to calls on
    /// other connections. The scheduler would let it run to the end of its time slice, some
    /// milliseconds. Yielding without need would cost a bulk call its share of a core.
    fn should_yield(&self, completed: usize, output: &mut Output<S>) -> bool {
        if completed > 0 {
            self.completed.0.fetch_add(1, Ordering::Relaxed);
            output.completed_here += 1;
            output.written = 0;
        }
        if output.written < YIELD_BYTES {
            return false;
        }
        output.written = 0;
        let all = self.completed.0.load(Ordering::Relaxed);
        let elsewhere = all.wrapping_sub(output.completed_here);
        mem::replace(&mut output.completed_elsewhere, elsewhere) != elsewhere
    }

    fn output(&self) -> MutexGuard<'_, Output<S>> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Io> Output<S> {
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.buffer.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.buffer))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.buffer.advance(written);
            self.written += written;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_buffer(
        &mut self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.buffer.len() + length > BUFFER_SIZE {
            ready!(self.poll_drain(cx))?;
        }
        if length > BUFFER_SIZE {
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
            self.written += written;
            self.unflushed = true;
            return Poll::Ready(Ok(written));
        }
        for buf in bufs {
            self.buffer.extend_from_slice(buf);
        }
        Poll::Ready(Ok(length))
    }

    /// Counts the frames in the first `taken` bytes.
    fn count(&mut self, bufs: &[IoSlice<'_>], mut taken: usize) -> Result<usize, ExceededLimit> {
        let mut frames = 0;
        for buf in bufs {
            let bytes = &buf[..taken.min(buf.len())];
            taken -= bytes.len();
            frames += self.sent.count(bytes)?;
        }
        Ok(frames)
    }

    /// Closes the connection, with a GOAWAY frame if one can be inserted.
    fn close(&mut self, exceeded: ExceededLimit, last_stream: u32) {
        if self.exceeded.is_none() && self.sent.is_between_frames() {
            self.buffer.extend(exceeded.goaway(last_stream));
        }
        self.exceeded = Some(exceeded);
    }
}

impl<S> Socket<S> {
    /// The counter of bytes read.
    pub(super) fn bytes_read(&self) -> BytesRead {
        self.driver.read.clone()
    }

    /// Waits until reading is not paused.
    fn poll_unpaused(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Some(until) = self.refusals.paused_until() {
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if pause.deadline() != until {
                pause.as_mut().reset(until);
            }
            ready!(pause.as_mut().poll(cx));
        }
        self.pause = None;
        Poll::Ready(())
    }
}

impl<S: Io> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_unpaused(cx));
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.driver.output().stream).poll_read(cx, buf);
        let read = &buf.filled()[before..];
        if read.is_empty() {
            return polled;
        }
        self.driver.read.add(read.len());
        let frames = self.driver.frames.load(Ordering::Relaxed);
        let sent = frames.wrapping_sub(mem::replace(&mut self.frames, frames));
        if let Err(exceeded) = self.received.count(read, sent) {
            let last_stream = self.received.last_stream();
            self.driver.output().close(exceeded, last_stream);
            return Poll::Ready(Err(io::Error::other(exceeded.as_str())));
        }
        polled
    }
}

impl<S: Io> AsyncWrite for Socket<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut output = self.driver.output();
        let taken = ready!(output.poll_buffer(cx, bufs))?;
        match output.count(bufs, taken) {
            Ok(frames) => drop(self.driver.frames.fetch_add(frames, Ordering::Relaxed)),
            Err(exceeded) => output.close(exceeded, self.received.last_stream()),
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Done by the driver: HTTP/2 flushes after each response.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut output = self.driver.output();
        ready!(output.poll_drain(cx))?;
        Pin::new(&mut output.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, pin::pin, time::Duration};

    use futures_util::FutureExt;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::{mpsc::unbounded_channel, oneshot},
    };

    use super::{super::unread::Total, *};

    async fn connected() -> (Socket<TcpStream>, Driver<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (refusals, completed) = (Refusals::new(), CompletedCalls::default());
        let state = SocketState { completed, unread: unread(), refusals };
        let (socket, driver) = split(listener.accept().await.unwrap().0, state);
        (socket, driver, peer)
    }

    fn unread() -> Unread {
        Unread::new(Total::default())
    }

    fn no_limit() -> ReadMonitor {
        ReadMonitor::new(unread(), Duration::MAX)
    }

    #[tokio::test]
    async fn responses_of_concurrent_calls_are_written_together() {
        let (mut socket, driver, mut peer) = connected().await;
        let mut calls = OpenCalls::default();
        let (send, mut responses) = unbounded_channel();
        for response in [&b"one, "[..], b"two"] {
            let send = send.clone();
            calls.new_calls().add(async move { send.send(response).unwrap() });
        }
        let connection = async {
            while let Some(response) = responses.recv().await {
                socket.write_all(response).await.unwrap();
                socket.flush().await.unwrap();
            }
        };
        let received = async {
            let mut buffer = [0; 64];
            let read = peer.read(&mut buffer).await.unwrap();
            buffer[..read].to_vec()
        };
        let (connection, mut monitor) = (pin!(connection), no_limit());
        tokio::select! {
            _ = driver.run(connection, &mut calls, &mut monitor) => unreachable!("it never completes"),
            received = received => assert_eq!(received, b"one, two"),
        }
    }

    #[tokio::test]
    async fn call_added_while_others_run_is_polled() {
        let (_socket, driver, _peer) = connected().await;
        let mut monitor = no_limit();
        let mut calls = OpenCalls::default();
        let new_calls = calls.new_calls();
        let ((send, mut response), mut polls) = (oneshot::channel(), 0);
        let mut second = Some(async { send.send("done").unwrap() });
        let connection = pin!(poll_fn(|_| {
            polls += 1;
            match polls {
                1 => new_calls.add(pending::<()>()),
                _ => second.take().into_iter().for_each(|call| new_calls.add(call)),
            }
            Poll::<()>::Pending
        }));
        assert!(driver.run(connection, &mut calls, &mut monitor).now_or_never().is_none());
        assert_eq!(response.try_recv(), Ok("done"));
    }

    #[tokio::test]
    async fn bulk_yields_when_calls_complete_elsewhere() {
        let completed = CompletedCalls::default();
        let (mut drivers, mut open) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (socket, mut driver, peer) = connected().await;
            driver.completed = completed.clone();
            drivers.push(driver);
            open.push((socket, peer));
        }
        let [calls, bulk, other_bulk] = &drivers[..] else { unreachable!("three") };
        let yields = |driver: &Driver<TcpStream>, completed, written| {
            let mut output = driver.output();
            output.written += written;
            driver.should_yield(completed, &mut output)
        };
        assert!(!yields(bulk, 0, YIELD_BYTES), "no other connection");
        assert!(!yields(calls, 1, YIELD_BYTES), "not a bulk call");
        assert!(!yields(calls, 0, YIELD_BYTES), "its own calls do not count");
        assert!(!yields(bulk, 0, YIELD_BYTES - 1), "not yet");
        assert!(yields(bulk, 0, 1));
        assert!(yields(other_bulk, 0, YIELD_BYTES), "each bulk call");
        assert!(!yields(bulk, 0, YIELD_BYTES), "no call since");
    }

    #[tokio::test]
    async fn large_writes_follow_buffered_ones() {
        let (mut socket, driver, mut peer) = connected().await;
        let large = vec![b'l'; 64 * BUFFER_SIZE];
        let connection = async {
            socket.write_all(b"small, ").await.unwrap();
            socket.write_all(&large).await.unwrap();
            socket.write_all(b", end").await.unwrap();
            socket.shutdown().await.unwrap();
        };
        let (connection, mut monitor) = (pin!(connection), no_limit());
        let (mut calls, mut read) = (OpenCalls::default(), Vec::new());
        let (_, _) = tokio::join!(driver.run(connection, &mut calls, &mut monitor), async {
            peer.read_to_end(&mut read).await.unwrap()
        });
        assert_eq!(read, [b"small, ", &large[..], b", end"].concat());
    }

    #[tokio::test]
    async fn bytes_read_are_counted() {
        let (mut socket, driver, mut peer) = connected().await;
        peer.write_all(b"hello").await.unwrap();
        socket.read_exact(&mut [0; 5]).await.unwrap();
        assert_eq!(driver.bytes_read().get(), 5);
    }
}
