//! A connection's socket. It counts what was read, since silence is told from a conversation
//! by that. It gathers what is written: HTTP/2 writes each answer by itself, and to hand a
//! small answer to the system costs more than to make it.

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
    frames::{Excess, Received, Sent},
    refusals::Refusals,
    unread::{Unread, Watch},
};

/// What a connection is made over: TCP, TLS over it, or a Unix socket.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Io for S {}

/// Bytes gathered before they are written; a larger write is passed on as it comes.
const GATHERED: usize = 32 * 1024;

/// Written of a bulk before calls elsewhere are thought of: about a chunk.
const MUCH: usize = 64 * 1024;

/// How often calls have ended, on all connections of a server.
#[derive(Clone, Debug, Default)]
pub(super) struct Answered(Arc<AtomicUsize>);

/// The HTTP/2 preface and an empty SETTINGS frame.
const PREFACE_BYTES: usize = 24 + 9;

/// How many bytes have been read from a socket.
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

    /// Whether as much has been read as the shortest preface has.
    pub(super) fn has_preface(&self) -> bool {
        self.get() >= PREFACE_BYTES
    }

    /// Waits, once, until as much has been read as the shortest preface has.
    pub(super) async fn preface(&self) {
        self.0.preface.notified().await;
    }
}

/// What a socket counts for others, and what keeps it from being read.
pub(super) struct Watched {
    pub(super) answered: Answered,
    pub(super) unread: Unread,
    pub(super) refusals: Refusals,
}

/// The connection's end of a socket, and its driver's.
pub(super) fn split<S: Io>(stream: S, watched: Watched) -> (Socket<S>, Driver<S>) {
    let Watched { answered, unread, refusals } = watched;
    let output = Output {
        stream,
        unflushed: false,
        gathered: BytesMut::new(),
        written: 0,
        answered_here: 0,
        answered_elsewhere: 0,
        sent: Sent::new(unread.clone()),
        excess: None,
    };
    let output = Arc::new(Mutex::new(output));
    let read = BytesRead::default();
    let driver = Driver { read, frames: Arc::default(), output, answered };
    let received = Received::new(unread);
    (Socket { driver: driver.clone(), received, frames: 0, refusals, pause: None }, driver)
}

/// What the connection reads from and writes to.
pub(super) struct Socket<S> {
    driver: Driver<S>,
    received: Received,
    /// Frames that had been sent when it was last read from.
    frames: usize,
    refusals: Refusals,
    /// While it is not read.
    pause: Option<Pin<Box<Sleep>>>,
}

/// Drives the connection, and writes what it gathered.
pub(super) struct Driver<S> {
    read: BytesRead,
    /// Frames sent.
    frames: Arc<AtomicUsize>,
    output: Arc<Mutex<Output<S>>>,
    answered: Answered,
}

impl<S> Clone for Driver<S> {
    fn clone(&self) -> Self {
        Self {
            read: self.read.clone(),
            frames: Arc::clone(&self.frames),
            output: Arc::clone(&self.output),
            answered: self.answered.clone(),
        }
    }
}

struct Output<S> {
    /// Both directions: a TLS session cannot be split, and all of a connection's work is done
    /// by one task.
    stream: S,
    /// Whether the stream may hold bytes that it was handed and has not sent.
    unflushed: bool,
    /// Tokens are in it.
    gathered: BytesMut,
    /// Bytes written since a call of this connection ended, or since [`MUCH`] of them.
    written: usize,
    answered_here: usize,
    /// As it was when [`MUCH`] was last written.
    answered_elsewhere: usize,
    sent: Sent,
    /// Why the connection is to be cut.
    excess: Option<Excess>,
}

impl<S: Io> Driver<S> {
    /// Counts what is read.
    pub(super) fn bytes_read(&self) -> &BytesRead {
        &self.read
    }

    /// Runs `connection` and its calls to its end, or to an excess of its client's. What their
    /// answers make it say is gathered, and written when all have had their turn.
    pub(super) async fn run<F: Future>(
        &self,
        mut connection: Pin<&mut F>,
        calls: &mut OpenCalls,
        unread: &mut Watch,
    ) -> Result<F::Output, Excess> {
        poll_fn(|cx| {
            let mut polled = connection.as_mut().poll(cx);
            let mut answered = 0;
            while polled.is_pending()
                && let Some(ended) = calls.poll(cx)
            {
                answered += ended;
                polled = connection.as_mut().poll(cx);
                if calls.all_have_had_a_turn() {
                    break;
                }
            }
            let mut output = self.output();
            // An error shows when the connection reads.
            let _ = output.poll_write_out(cx);
            if self.should_give_way(answered, &mut output) {
                thread::yield_now();
            }
            match output.excess {
                Some(excess) => return Poll::Ready(Err(excess)),
                None if polled.is_ready() => return polled.map(Ok),
                None => drop(output),
            }
            let excess = ready!(unread.poll(cx));
            Poll::Ready(Err(excess))
        })
        .await
    }

    /// Whether this thread has written so much of a bulk that calls on other connections should
    /// have their turn on its core. The system would let it work on to the end of its slice,
    /// some milliseconds; but who gives way without need has little of a core that is shared.
    fn should_give_way(&self, answered: usize, output: &mut Output<S>) -> bool {
        if answered > 0 {
            self.answered.0.fetch_add(1, Ordering::Relaxed);
            output.answered_here += 1;
            output.written = 0;
        }
        if output.written < MUCH {
            return false;
        }
        output.written = 0;
        let all = self.answered.0.load(Ordering::Relaxed);
        let elsewhere = all.wrapping_sub(output.answered_here);
        mem::replace(&mut output.answered_elsewhere, elsewhere) != elsewhere
    }

    fn output(&self) -> MutexGuard<'_, Output<S>> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Io> Output<S> {
    fn poll_write_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.gathered.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.gathered))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(written);
            self.written += written;
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let length = bufs.iter().map(|buf| buf.len()).sum();
        if self.gathered.len() + length > GATHERED {
            ready!(self.poll_write_out(cx))?;
        }
        if length > GATHERED {
            let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs))?;
            self.written += written;
            self.unflushed = true;
            return Poll::Ready(Ok(written));
        }
        for buf in bufs {
            self.gathered.extend_from_slice(buf);
        }
        Poll::Ready(Ok(length))
    }

    /// Counts the frames in the first `taken` bytes.
    fn count(&mut self, bufs: &[IoSlice<'_>], mut taken: usize) -> Result<usize, Excess> {
        let mut frames = 0;
        for buf in bufs {
            let bytes = &buf[..taken.min(buf.len())];
            taken -= bytes.len();
            frames += self.sent.count(bytes)?;
        }
        Ok(frames)
    }

    /// Ends the connection, and tells the client so where a frame can be sent.
    fn cut(&mut self, excess: Excess, last_stream: u32) {
        if self.excess.is_none() && self.sent.is_between_frames() {
            self.gathered.extend(excess.goaway(last_stream));
        }
        self.excess = Some(excess);
    }
}

impl<S> Socket<S> {
    /// Counts what is read.
    pub(super) fn bytes_read(&self) -> BytesRead {
        self.driver.read.clone()
    }

    /// Waits until the socket may be read.
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
        if let Err(excess) = self.received.count(read, sent) {
            let last_stream = self.received.last_stream();
            self.driver.output().cut(excess, last_stream);
            return Poll::Ready(Err(io::Error::other(excess.as_str())));
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
        let taken = ready!(output.poll_take(cx, bufs))?;
        match output.count(bufs, taken) {
            Ok(frames) => drop(self.driver.frames.fetch_add(frames, Ordering::Relaxed)),
            Err(excess) => output.cut(excess, self.received.last_stream()),
        }
        Poll::Ready(Ok(taken))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Left to the driver: HTTP/2 flushes after each answer.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut output = self.driver.output();
        ready!(output.poll_write_out(cx))?;
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

    use super::{super::unread::Sum, *};

    async fn connected() -> (Socket<TcpStream>, Driver<TcpStream>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (refusals, answered) = (Refusals::new(), Answered::default());
        let watched = Watched { answered, unread: unread(), refusals };
        let (socket, driver) = split(listener.accept().await.unwrap().0, watched);
        (socket, driver, peer)
    }

    fn unread() -> Unread {
        Unread::new(Sum::default())
    }

    fn nobody_watches() -> Watch {
        Watch::new(unread(), Duration::MAX)
    }

    #[tokio::test]
    async fn what_calls_have_to_say_leaves_at_once_and_together() {
        let (mut socket, driver, mut peer) = connected().await;
        let mut calls = OpenCalls::default();
        let (say, mut sayings) = unbounded_channel();
        for saying in [&b"one, "[..], b"two"] {
            let say = say.clone();
            calls.arrivals().add(async move { say.send(saying).unwrap() });
        }
        let connection = async {
            while let Some(saying) = sayings.recv().await {
                socket.write_all(saying).await.unwrap();
                socket.flush().await.unwrap();
            }
        };
        let said = async {
            let mut buffer = [0; 64];
            let read = peer.read(&mut buffer).await.unwrap();
            buffer[..read].to_vec()
        };
        let (connection, mut unwatched) = (pin!(connection), nobody_watches());
        tokio::select! {
            _ = driver.run(connection, &mut calls, &mut unwatched) => unreachable!("it never ends"),
            said = said => assert_eq!(said, b"one, two"),
        }
    }

    #[tokio::test]
    async fn a_call_that_comes_while_others_are_answered_has_its_turn() {
        let (_socket, driver, _peer) = connected().await;
        let mut unwatched = nobody_watches();
        let mut calls = OpenCalls::default();
        let arrivals = calls.arrivals();
        let ((tell, mut told), mut polls) = (oneshot::channel(), 0);
        let mut second = Some(async { tell.send("answered").unwrap() });
        let connection = pin!(poll_fn(|_| {
            polls += 1;
            match polls {
                1 => arrivals.add(pending::<()>()),
                _ => second.take().into_iter().for_each(|call| arrivals.add(call)),
            }
            Poll::<()>::Pending
        }));
        assert!(driver.run(connection, &mut calls, &mut unwatched).now_or_never().is_none());
        assert_eq!(told.try_recv(), Ok("answered"));
    }

    #[tokio::test]
    async fn bulks_give_way_where_calls_ended_elsewhere() {
        let answered = Answered::default();
        let (mut drivers, mut open) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let (socket, mut driver, peer) = connected().await;
            driver.answered = answered.clone();
            drivers.push(driver);
            open.push((socket, peer));
        }
        let [calls, bulk, other_bulk] = &drivers[..] else { unreachable!("three") };
        let gives_way = |driver: &Driver<TcpStream>, answered, written| {
            let mut output = driver.output();
            output.written += written;
            driver.should_give_way(answered, &mut output)
        };
        assert!(!gives_way(bulk, 0, MUCH), "nobody else is there");
        assert!(!gives_way(calls, 1, MUCH), "those are calls, not a bulk");
        assert!(!gives_way(calls, 0, MUCH), "its own do not count");
        assert!(!gives_way(bulk, 0, MUCH - 1), "not yet");
        assert!(gives_way(bulk, 0, 1));
        assert!(gives_way(other_bulk, 0, MUCH), "each of them");
        assert!(!gives_way(bulk, 0, MUCH), "none since");
    }

    #[tokio::test]
    async fn what_is_large_follows_what_was_gathered() {
        let (mut socket, driver, mut peer) = connected().await;
        let large = vec![b'l'; 64 * GATHERED];
        let connection = async {
            socket.write_all(b"small, ").await.unwrap();
            socket.write_all(&large).await.unwrap();
            socket.write_all(b", end").await.unwrap();
            socket.shutdown().await.unwrap();
        };
        let (connection, mut unwatched) = (pin!(connection), nobody_watches());
        let (mut calls, mut read) = (OpenCalls::default(), Vec::new());
        let (_, _) = tokio::join!(driver.run(connection, &mut calls, &mut unwatched), async {
            peer.read_to_end(&mut read).await.unwrap()
        });
        assert_eq!(read, [b"small, ", &large[..], b", end"].concat());
    }

    #[tokio::test]
    async fn what_is_read_is_counted() {
        let (mut socket, driver, mut peer) = connected().await;
        peer.write_all(b"hello").await.unwrap();
        socket.read_exact(&mut [0; 5]).await.unwrap();
        assert_eq!(driver.bytes_read().get(), 5);
    }
}
