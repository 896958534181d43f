//! The life of one connection, as its calls see it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// How often it is checked whether calls have ended: only where a connection is closed.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Whether a connection may go on. The server ends it; streams that see its end end themselves,
/// and say where to resume, before the connection is cut. The default never ends.
#[derive(Clone, Debug, Default)]
pub struct Lifetime {
    end: CancellationToken,
    known: Arc<Known>,
}

/// The calls of a connection whose callers were authenticated call by call.
#[derive(Debug)]
struct Known {
    began: Instant,
    calls: AtomicUsize,
    /// When the last one ended, in nanoseconds from the beginning.
    last: AtomicU64,
}

impl Default for Known {
    fn default() -> Self {
        Self { began: Instant::now(), calls: AtomicUsize::new(0), last: AtomicU64::new(0) }
    }
}

impl Lifetime {
    /// Ends it, once and for all.
    pub fn end(&self) {
        self.end.cancel();
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.end.is_cancelled()
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        self.end.cancelled().await;
    }

    /// A call whose caller was authenticated by itself begins.
    #[must_use]
    pub fn known_call(&self) -> KnownCall {
        self.known.calls.fetch_add(1, Ordering::Relaxed);
        KnownCall(Arc::clone(&self.known))
    }

    /// Whether there was such a call.
    #[must_use]
    pub fn had_known_calls(&self) -> bool {
        self.known.calls.load(Ordering::Acquire) > 0 || self.known.last.load(Ordering::Acquire) > 0
    }

    /// Returns when there is no such call.
    pub async fn known_calls_end(&self) {
        while self.known.calls.load(Ordering::Acquire) > 0 {
            sleep(LOOK_AGAIN).await;
        }
    }

    /// How long there has been no such call.
    #[must_use]
    pub fn without_known_calls(&self) -> Duration {
        if self.known.calls.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        let last = Duration::from_nanos(self.known.last.load(Ordering::Acquire));
        self.known.began.elapsed().saturating_sub(last)
    }
}

/// A call whose caller was authenticated by itself, until it is dropped.
#[derive(Debug)]
pub struct KnownCall(Arc<Known>);

impl Clone for KnownCall {
    fn clone(&self) -> Self {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for KnownCall {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.last.fetch_max(now, Ordering::Release);
        self.0.calls.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_known_call_counts_until_its_last_clone_is_dropped() {
        let second = Duration::from_secs(1);
        let lifetime = Lifetime::default();
        advance(3 * second).await;
        assert_eq!(lifetime.without_known_calls(), 3 * second);
        let call = lifetime.clone().known_call();
        let clone = call.clone();
        advance(second).await;
        drop(call);
        advance(second).await;
        assert_eq!(lifetime.without_known_calls(), Duration::ZERO);
        drop(clone);
        advance(2 * second).await;
        assert_eq!(lifetime.without_known_calls(), 2 * second);
    }
}
