//! The lifetime of one connection, as its calls see it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The interval for checking whether calls have finished, used only while a connection closes.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Whether a connection may continue. The server ends the lifetime; streams notice, end themselves
/// and report where to resume, before the connection is closed. The default lifetime never ends.
#[derive(Clone, Debug, Default)]
pub struct Lifetime {
    end: CancellationToken,
    authenticated: Arc<AuthenticatedCalls>,
}

/// The calls of a connection whose callers were authenticated per call.
#[derive(Debug)]
struct AuthenticatedCalls {
    started: Instant,
    calls: AtomicUsize,
    /// When the last one finished, in nanoseconds since `began`.
    last: AtomicU64,
}

impl Default for AuthenticatedCalls {
    fn default() -> Self {
        Self { started: Instant::now(), calls: AtomicUsize::new(0), last: AtomicU64::new(0) }
    }
}

impl Lifetime {
    /// Ends the lifetime, permanently.
    pub fn end(&self) {
        self.end.cancel();
    }

    /// Whether it has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.end.is_cancelled()
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        self.end.cancelled().await;
    }

    /// Counts a call whose caller was authenticated for that call.
    #[must_use]
    pub fn authenticated_call(&self) -> AuthenticatedCall {
        self.authenticated.calls.fetch_add(1, Ordering::Relaxed);
        AuthenticatedCall(Arc::clone(&self.authenticated))
    }

    /// Whether there was such a call.
    #[must_use]
    pub fn had_authenticated_calls(&self) -> bool {
        self.authenticated.calls.load(Ordering::Acquire) > 0
            || self.authenticated.last.load(Ordering::Acquire) > 0
    }

    /// Returns once no such call is open.
    pub async fn authenticated_calls_finished(&self) {
        while self.authenticated.calls.load(Ordering::Acquire) > 0 {
            sleep(CHECK_INTERVAL).await;
        }
    }

    /// How long no such call has been open.
    #[must_use]
    pub fn time_without_authenticated_calls(&self) -> Duration {
        if self.authenticated.calls.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        let last = Duration::from_nanos(self.authenticated.last.load(Ordering::Acquire));
        self.authenticated.started.elapsed().saturating_sub(last)
    }
}

/// A call whose caller was authenticated for that call, counted until it is dropped.
#[derive(Debug)]
pub struct AuthenticatedCall(Arc<AuthenticatedCalls>);

impl Clone for AuthenticatedCall {
    fn clone(&self) -> Self {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl Drop for AuthenticatedCall {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.last.fetch_max(now, Ordering::Release);
        self.0.calls.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn call_counts_until_its_last_clone_is_dropped() {
        let second = Duration::from_secs(1);
        let lifetime = Lifetime::default();
        advance(3 * second).await;
        assert_eq!(lifetime.time_without_authenticated_calls(), 3 * second);
        let call = lifetime.clone().authenticated_call();
        let clone = call.clone();
        advance(second).await;
        drop(call);
        advance(second).await;
        assert_eq!(lifetime.time_without_authenticated_calls(), Duration::ZERO);
        drop(clone);
        advance(2 * second).await;
        assert_eq!(lifetime.time_without_authenticated_calls(), 2 * second);
    }
}
