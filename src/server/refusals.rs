//! Slows down or closes connections whose calls are repeatedly refused.
//!
//! A refusal costs nearly as much as a token, and no status stops a client that retries at once.
//! Refusals are counted by the response's status, whichever component refuses.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderMap;
use tokio::{sync::Notify, time::Instant};
use tonic::Code;

/// The number of refused calls per second and connection after which reading pauses.
const MAX_REFUSED: u32 = 64;

/// The number of consecutive failed authentications that closes a connection.
const MAX_UNAUTHENTICATED: u32 = 16;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

const SECOND: Duration = Duration::from_secs(1);

/// After a pause and this time without calls, the pause length is reset.
const RESET_AFTER: Duration = Duration::from_secs(2);

/// Whether the caller of a call was authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Authentication {
    Good,
    Failed,
    /// This cannot be determined now.
    Unknown,
}

/// Counts the refused calls of one connection.
#[derive(Clone)]
pub(super) struct Refusals(Arc<Shared>);

struct Shared {
    count: Mutex<Count>,
    closed: Notify,
}

struct Count {
    /// When the current second began.
    began: Instant,
    calls: u32,
    refused: u32,
    unauthenticated_in_a_row: u32,
    /// The connection is not read until then.
    paused_until: Option<Instant>,
    /// When the last pause ended or will end.
    pause_ends: Instant,
    next_pause: Duration,
}

impl Refusals {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let count = Count {
            began: now,
            calls: 0,
            refused: 0,
            unauthenticated_in_a_row: 0,
            paused_until: None,
            pause_ends: now,
            next_pause: FIRST_PAUSE,
        };
        Self(Arc::new(Shared { count: Mutex::new(count), closed: Notify::new() }))
    }

    /// Counts a call by the gRPC status in these headers, if any.
    pub(super) fn note(&self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            let code = Code::from_bytes(status.as_bytes());
            if self.count().note(code, Instant::now()) {
                self.0.closed.notify_one();
            }
        }
    }

    /// Counts a call whose bearer token could not be verified. It counts as refused but never
    /// closes the connection, since its caller may be legitimate.
    pub(super) fn note_unverifiable(&self) {
        let _ = self.count().refuse(Authentication::Unknown, Instant::now());
    }

    /// Until when reading is paused; `None` if it is not.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        let mut count = self.count();
        let until = count.paused_until?;
        if until <= Instant::now() {
            count.paused_until = None;
        }
        count.paused_until
    }

    /// Waits until the connection must be closed.
    pub(super) async fn close_requested(&self) {
        self.0.closed.notified().await;
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.0.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    /// Counts a call. Returns whether the connection must be closed.
    fn note(&mut self, code: Code, now: Instant) -> bool {
        match code {
            Code::Unauthenticated => self.refuse(Authentication::Failed, now),
            Code::PermissionDenied | Code::ResourceExhausted => {
                self.refuse(Authentication::Good, now)
            }
            _ => self.count(false, Authentication::Good, now),
        }
    }

    fn refuse(&mut self, authentication: Authentication, now: Instant) -> bool {
        self.count(true, authentication, now)
    }

    fn count(&mut self, refused: bool, authentication: Authentication, now: Instant) -> bool {
        if now.duration_since(self.began) >= SECOND {
            let idle = now.duration_since(self.began.max(self.pause_ends));
            if self.refused < MAX_REFUSED || idle > RESET_AFTER {
                self.next_pause = FIRST_PAUSE;
            }
            (self.began, self.calls, self.refused) = (now, 0, 0);
        }
        self.calls = self.calls.saturating_add(1);
        self.refused = self.refused.saturating_add(u32::from(refused));
        match authentication {
            Authentication::Good => self.unauthenticated_in_a_row = 0,
            Authentication::Failed => {
                self.unauthenticated_in_a_row = self.unauthenticated_in_a_row.saturating_add(1);
            }
            Authentication::Unknown => {}
        }
        let most_are_refused = self.refused > self.calls / 2;
        if !most_are_refused {
            return false;
        }
        if self.refused >= MAX_REFUSED && self.paused_until.is_none_or(|until| until <= now) {
            self.pause_ends = now + self.next_pause;
            self.paused_until = Some(self.pause_ends);
            self.next_pause = LONGEST_PAUSE.min(self.next_pause * 2);
        }
        authentication == Authentication::Failed
            && self.unauthenticated_in_a_row >= MAX_UNAUTHENTICATED
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn record(refusals: &Refusals, code: Code, times: u32) {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", i32::from(code).into());
        (0..times).for_each(|_| refusals.note(&headers));
    }

    fn pause(refusals: &Refusals) -> Option<u128> {
        Some((refusals.paused_until()? - Instant::now()).as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_double_while_calls_are_refused() {
        let refusals = Refusals::new();
        for code in [Code::PermissionDenied, Code::ResourceExhausted] {
            record(&refusals, code, MAX_REFUSED / 2 - 1);
        }
        record(&refusals, Code::PermissionDenied, 1);
        assert_eq!(pause(&refusals), None);
        let mut all = Vec::new();
        for _ in 0..7 {
            record(&refusals, Code::PermissionDenied, MAX_REFUSED);
            let milliseconds = pause(&refusals).unwrap();
            all.push(milliseconds);
            advance(Duration::from_millis(u64::try_from(milliseconds).unwrap())).await;
            assert_eq!(pause(&refusals), None);
        }
        assert_eq!(all, [50, 100, 200, 400, 800, 1_000, 1_000]);
        advance(SECOND).await;
        record(&refusals, Code::PermissionDenied, 1);
        advance(SECOND).await;
        record(&refusals, Code::PermissionDenied, MAX_REFUSED);
        assert_eq!(pause(&refusals), Some(50), "after a second with few refusals");
    }

    #[tokio::test(start_paused = true)]
    async fn pause_is_reset_after_a_time_without_calls() {
        let refusals = Refusals::new();
        for (idle, expected) in [(0, 50), (1_900, 100), (RESET_AFTER.as_millis() + 1, 50)] {
            advance(Duration::from_millis(u64::try_from(idle).unwrap())).await;
            record(&refusals, Code::PermissionDenied, MAX_REFUSED);
            let milliseconds = pause(&refusals).unwrap();
            assert_eq!(milliseconds, expected, "after {idle} ms");
            advance(Duration::from_millis(u64::try_from(milliseconds).unwrap())).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_refused_caller_does_not_pause_a_shared_connection() {
        let refusals = Refusals::new();
        for _ in 0..200 {
            record(&refusals, Code::Ok, 1);
            record(&refusals, Code::PermissionDenied, 1);
        }
        assert_eq!(pause(&refusals), None);
        record(&refusals, Code::Unauthenticated, MAX_UNAUTHENTICATED - 2);
        record(&refusals, Code::Ok, 1);
        record(&refusals, Code::Unauthenticated, 1);
        let closed = tokio::time::timeout(Duration::ZERO, refusals.close_requested()).await;
        assert!(closed.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn unverifiable_calls_pause_but_do_not_close() {
        let refusals = Refusals::new();
        record(&refusals, Code::Unauthenticated, MAX_UNAUTHENTICATED - 1);
        (0..MAX_REFUSED).for_each(|_| refusals.note_unverifiable());
        assert_eq!(pause(&refusals), Some(50));
        assert!(tokio::time::timeout(Duration::ZERO, refusals.close_requested()).await.is_err());
        record(&refusals, Code::Unauthenticated, 1);
        assert!(tokio::time::timeout(Duration::ZERO, refusals.close_requested()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn consecutive_failed_authentications_close_a_connection() {
        let refusals = Refusals::new();
        record(&refusals, Code::Unauthenticated, MAX_UNAUTHENTICATED - 1);
        assert!(tokio::time::timeout(Duration::ZERO, refusals.close_requested()).await.is_err());
        record(&refusals, Code::Unauthenticated, 1);
        assert!(tokio::time::timeout(Duration::ZERO, refusals.close_requested()).await.is_ok());
    }
}
