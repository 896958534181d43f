//! Tracks response bytes that a connection's client has not read.
//!
//! HTTP/2 flow control lets a client request responses and not read them. A deadline for each wait
//! on the window is not enough: a client that opens its window by one byte at a time makes progress
//! in each wait. So the connection as a whole is monitored too.

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

use super::exceeded::ExceededLimit;

/// The unread bytes per connection that are not limited.
const TOLERATED: usize = 64 * 1024;

/// The minimum read rate in bytes per second while more than [`TOLERATED`] bytes are unread.
const MIN_RATE: u64 = 16 * 1024;

/// The budget for unread bytes per connection.
const MAX_PER_CONNECTION: usize = 1024 * 1024;
/// The budget for unread bytes of all connections of one caller.
const MAX_PER_CALLER: usize = 16 * 1024 * 1024;
/// The budget for unread bytes of all connections.
const MAX_TOTAL: usize = 64 * 1024 * 1024;

/// The unread bytes of several connections, not counting connections with up to [`TOLERATED`].
#[derive(Clone, Debug, Default)]
pub(super) struct Total(Arc<AtomicUsize>);

impl Total {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }

    fn subtract(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }

    fn exceeds(&self, max: usize) -> bool {
        self.0.load(Relaxed) > max
    }
}

/// The unread bytes of a connection.
#[derive(Clone)]
pub(super) struct Unread(Arc<Mutex<Inner>>);

struct Inner {
    streams: HashMap<u32, Stream>,
    /// The unread bytes of all streams.
    bytes: usize,
    /// The bytes of response bodies written to the socket so far.
    written: u64,
    caller_total: Total,
    server_total: Total,
    /// The bytes of this connection that the totals include.
    reported: usize,
}

#[derive(Default)]
struct Stream {
    bytes: usize,
    waiting: Option<Waker>,
}

impl Unread {
    pub(super) fn new(server_total: Total) -> Self {
        let (streams, caller_total) = (HashMap::new(), Total::default());
        let inner =
            Inner { streams, bytes: 0, written: 0, caller_total, server_total, reported: 0 };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Adds the connection to its caller's total.
    pub(super) fn counts_for(&self, caller: Total) {
        let mut inner = self.lock();
        inner.caller_total.subtract(inner.reported);
        caller.add(inner.reported);
        inner.caller_total = caller;
    }

    /// Counts produced response bytes of `stream` as unread.
    pub(super) fn produced(&self, stream: u32, bytes: usize) {
        if bytes > 0 {
            let mut inner = self.lock();
            inner.streams.entry(stream).or_default().bytes += bytes;
            inner.bytes += bytes;
            inner.report();
        }
    }

    /// Counts a DATA frame of `bytes` that was written to the socket.
    pub(super) fn written(&self, stream: u32, bytes: usize) {
        let mut inner = self.lock();
        inner.written += bytes as u64;
        let Some(entry) = inner.streams.get_mut(&stream) else { return };
        let read = bytes.min(entry.bytes);
        entry.bytes -= read;
        let waiting = entry.waiting.take();
        if entry.bytes == 0 {
            inner.streams.remove(&stream);
        }
        inner.bytes -= read;
        inner.report();
        drop(inner);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Drops the unread bytes of a stream that was reset.
    pub(super) fn reset(&self, stream: u32) {
        let mut inner = self.lock();
        let Some(Stream { bytes, waiting }) = inner.streams.remove(&stream) else { return };
        inner.bytes -= bytes;
        inner.report();
        drop(inner);
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Waits until at most `bytes` of the stream's response are unread.
    pub(super) fn poll_at_most(&self, stream: u32, bytes: usize, cx: &mut Context<'_>) -> Poll<()> {
        match self.lock().streams.get_mut(&stream) {
            Some(entry) if entry.bytes > bytes => {
                entry.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }

    /// Whether too much is unread to produce more before the client has capacity for it.
    pub(super) fn is_over_budget(&self) -> bool {
        let inner = self.lock();
        inner.bytes > TOLERATED
            && (inner.bytes > MAX_PER_CONNECTION
                || inner.caller_total.exceeds(MAX_PER_CALLER)
                || inner.server_total.exceeds(MAX_TOTAL))
    }

    /// The number of streams with unread bytes.
    pub(super) fn streams(&self) -> usize {
        self.lock().streams.len()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Updates the totals. Most connections never exceed the tolerated bytes, so that they write to
    /// no memory shared by all cores.
    fn report(&mut self) {
        let now = if self.bytes > TOLERATED { self.bytes } else { 0 };
        for total in [&self.caller_total, &self.server_total] {
            match now.cmp(&self.reported) {
                Ordering::Greater => total.add(now - self.reported),
                Ordering::Less => total.subtract(self.reported - now),
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

/// Stalled calls are reset before their connection is closed, since it may serve other calls well.
const STALL_MARGIN: Duration = Duration::from_secs(1);

/// Monitors a connection. It must be closed if more than [`TOLERATED`] bytes stay unread for longer
/// than the stall timeout while its client reads at less than [`MIN_RATE`].
pub(super) struct ReadMonitor {
    unread: Unread,
    time: Duration,
    window: Option<Window>,
}

/// The period in which the client must read enough.
struct Window {
    written_before: u64,
    end: Pin<Box<Sleep>>,
}

impl ReadMonitor {
    pub(super) fn new(unread: Unread, stall: Duration) -> Self {
        Self { unread, time: stall.saturating_add(STALL_MARGIN), window: None }
    }

    /// Ready when the connection must be closed. Registers a wake-up for the next check.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ExceededLimit> {
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
            if written - window.written_before < MIN_RATE.saturating_mul(time.as_secs()) {
                return Poll::Ready(ExceededLimit::Unread);
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
        Unread::new(Total::default())
    }

    #[tokio::test(start_paused = true)]
    async fn slow_readers_are_disconnected() {
        let closed_after = async |per_second: usize| {
            let (unread, began) = (unread(), Instant::now());
            let mut monitor = ReadMonitor::new(unread.clone(), STALL);
            unread.produced(1, TOLERATED + 1);
            for _ in 0..100 {
                if poll_fn(|cx| monitor.poll(cx)).now_or_never().is_some() {
                    return Some(began.elapsed().as_secs());
                }
                advance(Duration::from_secs(1)).await;
                unread.written(1, per_second);
                unread.produced(1, per_second);
            }
            None
        };
        assert_eq!(closed_after(0).await, Some(30));
        assert_eq!(closed_after(1).await, Some(30), "a window of one byte");
        assert_eq!(closed_after(16 * 1024 - 600).await, Some(30));
        assert_eq!(closed_after(16 * 1024).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn small_amounts_may_stay_unread_indefinitely() {
        let unread = unread();
        let mut monitor = ReadMonitor::new(unread.clone(), STALL);
        unread.produced(1, TOLERATED);
        unread.produced(3, TOLERATED);
        assert!(poll_fn(|cx| monitor.poll(cx)).now_or_never().is_none());
        unread.reset(3);
        advance(STALL * 2).await;
        assert!(poll_fn(|cx| monitor.poll(cx)).now_or_never().is_none());
    }

    #[test]
    fn budgets_apply_per_connection_caller_and_server() {
        let (all, caller, other) = (Total::default(), Total::default(), Total::default());
        let connection = |caller_total: &Total| {
            let unread = Unread::new(all.clone());
            unread.counts_for(caller_total.clone());
            unread
        };
        let (first, second) = (connection(&caller), connection(&caller));
        first.produced(1, MAX_PER_CONNECTION);
        assert!(!first.is_over_budget());
        first.produced(1, 1);
        assert!(first.is_over_budget() && !second.is_over_budget());

        first.produced(1, MAX_PER_CALLER);
        second.produced(1, TOLERATED);
        assert!(!second.is_over_budget(), "small amounts are not limited");
        second.produced(1, 1);
        assert!(second.is_over_budget());
        let third = connection(&other);
        third.produced(1, TOLERATED + 1);
        assert!(!third.is_over_budget());
        second.produced(1, MAX_TOTAL);
        assert!(third.is_over_budget());
        drop((first, second));
        assert!(!third.is_over_budget());
        drop(third);
        assert_eq!(all.0.load(Relaxed), 0);
        assert_eq!(caller.0.load(Relaxed), 0);
    }

    #[tokio::test]
    async fn waiting_for_a_stream_ends_when_enough_is_written() {
        let unread = unread();
        unread.produced(1, 100);
        unread.produced(3, 100);
        let waited = |bytes| {
            let unread = unread.clone();
            async move { poll_fn(|cx| unread.poll_at_most(1, bytes, cx)).await }
        };
        assert!(waited(99).now_or_never().is_none());
        unread.written(3, 100);
        assert!(waited(99).now_or_never().is_none(), "another stream");
        unread.written(1, 1);
        assert!(waited(99).now_or_never().is_some());
        assert_eq!(unread.streams(), 1);
    }
}
