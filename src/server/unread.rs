//! Bytes of answers that a connection's client has not read: how many, and for how long.
//!
//! HTTP/2's flow control lets a client have answers made and not read them. A deadline on each
//! wait for the window is not enough: a client that opens the window by a byte at a time makes
//! progress in each wait. So the connection as a whole is watched too.

use std::{
    cmp::Ordering,
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

use super::frames::Excess;

/// Unread bytes of one connection that nobody asks about.
const TOLERATED: usize = 64 * 1024;

/// The bytes a second that a client reads at least, while more than [`TOLERATED`] are unread.
const LEAST_RATE: u64 = 16 * 1024;

/// Unread bytes of one connection, beyond which it is over its budget.
const OF_CONNECTION: usize = 1024 * 1024;
/// Unread bytes of all connections of one caller, beyond which all of these are over budget.
const OF_CALLER: usize = 16 * 1024 * 1024;
/// Unread bytes of all connections, beyond which all are over budget.
const OF_SERVER: usize = 64 * 1024 * 1024;

/// Unread bytes of many connections, as far as each has more than [`TOLERATED`].
#[derive(Clone, Debug, Default)]
pub(super) struct Sum(Arc<AtomicUsize>);

impl Sum {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }

    fn subtract(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }

    fn exceeds(&self, most: usize) -> bool {
        self.0.load(Relaxed) > most
    }
}

/// The unread bytes of one connection.
#[derive(Clone)]
pub(super) struct Unread(Arc<Mutex<Inner>>);

struct Inner {
    streams: HashMap<u32, Stream>,
    /// Of all streams.
    bytes: usize,
    /// Bytes of bodies written to the socket in the connection's life.
    written: u64,
    of_caller: Sum,
    of_server: Sum,
    /// What the sums hold of this connection.
    reported: usize,
}

#[derive(Default)]
struct Stream {
    bytes: usize,
    waiting: Option<Waker>,
}

impl Unread {
    pub(super) fn new(of_server: Sum) -> Self {
        let (streams, of_caller) = (HashMap::new(), Sum::default());
        let inner = Inner { streams, bytes: 0, written: 0, of_caller, of_server, reported: 0 };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Counts them as unread by the caller whose sum this is.
    pub(super) fn counts_for(&self, caller: Sum) {
        let mut inner = self.lock();
        inner.of_caller.subtract(inner.reported);
        caller.add(inner.reported);
        inner.of_caller = caller;
    }

    /// Bytes of an answer have been made for `stream`.
    pub(super) fn made(&self, stream: u32, bytes: usize) {
        if bytes > 0 {
            let mut inner = self.lock();
            inner.streams.entry(stream).or_default().bytes += bytes;
            inner.bytes += bytes;
            inner.report();
        }
    }

    /// A DATA frame of that many bytes is written to the socket.
    pub(super) fn written(&self, stream: u32, bytes: usize) {
        let mut inner = self.lock();
        inner.written += bytes as u64;
        let Some(of_stream) = inner.streams.get_mut(&stream) else { return };
        let read = bytes.min(of_stream.bytes);
        of_stream.bytes -= read;
        let waiting = of_stream.waiting.take();
        if of_stream.bytes == 0 {
            inner.streams.remove(&stream);
        }
        inner.bytes -= read;
        inner.report();
        drop(inner);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// The stream was reset: what is left of its answer is dropped.
    pub(super) fn dropped(&self, stream: u32) {
        let mut inner = self.lock();
        let Some(Stream { bytes, waiting }) = inner.streams.remove(&stream) else { return };
        inner.bytes -= bytes;
        inner.report();
        drop(inner);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Waits until no more than `bytes` of the stream's answer are unread.
    pub(super) fn poll_at_most(&self, stream: u32, bytes: usize, cx: &mut Context<'_>) -> Poll<()> {
        match self.lock().streams.get_mut(&stream) {
            Some(of_stream) if of_stream.bytes > bytes => {
                of_stream.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Whether so much is unread that no more is to be made before its reader has room for it.
    pub(super) fn is_over_budget(&self) -> bool {
        let inner = self.lock();
        inner.bytes > TOLERATED
            && (inner.bytes > OF_CONNECTION
                || inner.of_caller.exceeds(OF_CALLER)
                || inner.of_server.exceeds(OF_SERVER))
    }

    /// Streams of which something is unread.
    pub(super) fn streams(&self) -> usize {
        self.lock().streams.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Brings the sums up to date. Most connections never have more than is tolerated, and so
    /// share nothing that all cores write to.
    fn report(&mut self) {
        let now = if self.bytes > TOLERATED { self.bytes } else { 0 };
        for sum in [&self.of_caller, &self.of_server] {
            match now.cmp(&self.reported) {
                Ordering::Greater => sum.add(now - self.reported),
                Ordering::Less => sum.subtract(self.reported - now),
                Ordering::Equal => {}
            }
        }
        self.reported = now;
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.bytes = 0;
        self.report();
    }
}

/// Stalled calls are reset before their connection is judged: it may serve others well.
const AFTER_STALLED: Duration = Duration::from_secs(1);

/// Watches over a connection: where more than [`TOLERATED`] bytes stay unread for longer than
/// calls may stall, and less than [`LEAST_RATE`] is read meanwhile, it is to be cut.
pub(super) struct Watch {
    unread: Unread,
    time: Duration,
    window: Option<Window>,
}

/// The time in which enough is to be read.
struct Window {
    written_before: u64,
    end: Pin<Box<Sleep>>,
}

impl Watch {
    pub(super) fn new(unread: Unread, stall: Duration) -> Self {
        Self { unread, time: stall.saturating_add(AFTER_STALLED), window: None }
    }

    /// Why the connection is to be cut, if it is. Wakes when to ask again.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Excess> {
        loop {
            let (bytes, written) = {
                let inner = self.unread.lock();
                (inner.bytes, inner.written)
            };
            if bytes <= TOLERATED {
                self.window = None;
                return Poll::Pending;
            }
            let time = self.time;
            let window = self.window.get_or_insert_with(|| Window {
                written_before: written,
                end: Box::pin(sleep(time)),
            });
            if window.end.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if written - window.written_before < LEAST_RATE.saturating_mul(time.as_secs()) {
                return Poll::Ready(Excess::Unread);
            }
            self.window = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt;
    use tokio::time::{Instant, advance};

    use super::*;

    const STALL: Duration = Duration::from_secs(29);

    fn unread() -> Unread {
        Unread::new(Sum::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_is_cut_and_one_that_reads_is_not() {
        let cut_after = async |a_second: usize| {
            let (unread, began) = (unread(), Instant::now());
            let mut watch = Watch::new(unread.clone(), STALL);
            unread.made(1, TOLERATED + 1);
            for _ in 0..100 {
                if poll_fn(|cx| watch.poll(cx)).now_or_never().is_some() {
                    return Some(began.elapsed().as_secs());
                }
                advance(Duration::from_secs(1)).await;
                unread.written(1, a_second);
                unread.made(1, a_second);
            }
            None
        };
        assert_eq!(cut_after(0).await, Some(30));
        assert_eq!(cut_after(1).await, Some(30), "a window of one byte");
        assert_eq!(cut_after(16 * 1024 - 600).await, Some(30));
        assert_eq!(cut_after(16 * 1024).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn little_may_stay_unread_for_ever_and_what_was_dropped_does_not_count() {
        let unread = unread();
        let mut watch = Watch::new(unread.clone(), STALL);
        unread.made(1, TOLERATED);
        unread.made(3, TOLERATED);
        assert!(poll_fn(|cx| watch.poll(cx)).now_or_never().is_none());
        unread.dropped(3);
        advance(STALL * 2).await;
        assert!(poll_fn(|cx| watch.poll(cx)).now_or_never().is_none());
    }

    #[test]
    fn budgets_are_of_a_connection_a_caller_and_all() {
        let (all, caller, other) = (Sum::default(), Sum::default(), Sum::default());
        let connection = |of_caller: &Sum| {
            let unread = Unread::new(all.clone());
            unread.counts_for(of_caller.clone());
            unread
        };
        let (first, second) = (connection(&caller), connection(&caller));
        first.made(1, OF_CONNECTION);
        assert!(!first.is_over_budget());
        first.made(1, 1);
        assert!(first.is_over_budget() && !second.is_over_budget());

        first.made(1, OF_CALLER);
        second.made(1, TOLERATED);
        assert!(!second.is_over_budget(), "who holds little is left alone");
        second.made(1, 1);
        assert!(second.is_over_budget());
        let third = connection(&other);
        third.made(1, TOLERATED + 1);
        assert!(!third.is_over_budget());
        second.made(1, OF_SERVER);
        assert!(third.is_over_budget());
        drop((first, second));
        assert!(!third.is_over_budget());
        drop(third);
        assert_eq!(all.0.load(Relaxed), 0);
        assert_eq!(caller.0.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn a_stream_is_waited_for_until_enough_of_it_is_written() {
        let unread = unread();
        unread.made(1, 100);
        unread.made(3, 100);
        let waited = |bytes| {
            let unread = unread.clone();
            async move { poll_fn(|cx| unread.poll_at_most(1, bytes, cx)).await }
        };
        assert!(waited(99).now_or_never().is_none());
        unread.written(3, 100);
        assert!(waited(99).now_or_never().is_none(), "that was another");
        unread.written(1, 1);
        assert!(waited(99).now_or_never().is_some());
        assert_eq!(unread.streams(), 1);
    }
}
