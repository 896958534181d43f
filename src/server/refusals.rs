//! Connections whose calls are refused again and again are read more slowly, or not at all.
//!
//! A refusal costs nearly what a token does, and a client that retries at once is stopped by no
//! status. Whatever refuses, it is the answer's status that counts.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderMap;
use tokio::{sync::Notify, time::Instant};
use tonic::Code;

/// Calls of one connection refused in a second, from which on it is not read for a while.
const REFUSED: u32 = 64;

/// Failed authentications in a row that close a connection.
const UNAUTHENTICATED: u32 = 16;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

const SECOND: Duration = Duration::from_secs(1);

/// A connection that has sent nothing for that long after a pause begins with the shortest again.
const FORGIVEN: Duration = Duration::from_secs(2);

/// Whether a call's caller was authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Authentication {
    Good,
    Failed,
    /// That cannot be found out now.
    Unknown,
}

/// How the calls of one connection are answered.
#[derive(Clone)]
pub(super) struct Refusals(Arc<Shared>);

struct Shared {
    count: Mutex<Count>,
    closed: Notify,
}

struct Count {
    /// When the present second began.
    began: Instant,
    calls: u32,
    refused: u32,
    unauthenticated_in_a_row: u32,
    /// The connection is not read before this.
    paused_until: Option<Instant>,
    /// When the last pause ended, or ends.
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

    /// Counts a call by the status in these headers, if there is one.
    pub(super) fn note(&self, headers: &HeaderMap) {
        if let Some(status) = headers.get("grpc-status") {
            let code = Code::from_bytes(status.as_bytes());
            if self.count().note(code, Instant::now()) {
                self.0.closed.notify_one();
            }
        }
    }

    /// Counts a call whose bearer token could not be verified: it is refused, but its caller may
    /// be a good one, so that the connection is never closed for it.
    pub(super) fn note_unverifiable(&self) {
        // Never closes the connection.
        let _ = self.count().refuse(Authentication::Unknown, Instant::now());
    }

    /// Until when the connection is not to be read; none where it is.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        let mut count = self.count();
        let until = count.paused_until?;
        if until <= Instant::now() {
            count.paused_until = None;
        }
        count.paused_until
    }

    /// Waits until the connection is to be closed.
    pub(super) async fn closed(&self) {
        self.0.closed.notified().await;
    }

    fn count(&self) -> MutexGuard<'_, Count> {
        self.0.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Count {
    /// Whether the connection is to be closed.
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
            if self.refused < REFUSED || idle > FORGIVEN {
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
        if self.refused >= REFUSED && self.paused_until.is_none_or(|until| until <= now) {
            self.pause_ends = now + self.next_pause;
            self.paused_until = Some(self.pause_ends);
            self.next_pause = LONGEST_PAUSE.min(self.next_pause * 2);
        }
        authentication == Authentication::Failed && self.unauthenticated_in_a_row >= UNAUTHENTICATED
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn answered(refusals: &Refusals, code: Code, times: u32) {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", i32::from(code).into());
        (0..times).for_each(|_| refusals.note(&headers));
    }

    fn pause(refusals: &Refusals) -> Option<u128> {
        Some((refusals.paused_until()? - Instant::now()).as_millis())
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_refused_again_and_again_is_paused_longer_each_time() {
        let refusals = Refusals::new();
        for code in [Code::PermissionDenied, Code::ResourceExhausted] {
            answered(&refusals, code, REFUSED / 2 - 1);
        }
        answered(&refusals, Code::PermissionDenied, 1);
        assert_eq!(pause(&refusals), None);
        let mut all = Vec::new();
        for _ in 0..7 {
            answered(&refusals, Code::PermissionDenied, REFUSED);
            let milliseconds = pause(&refusals).unwrap();
            all.push(milliseconds);
            advance(Duration::from_millis(u64::try_from(milliseconds).unwrap())).await;
            assert_eq!(pause(&refusals), None);
        }
        assert_eq!(all, [50, 100, 200, 400, 800, 1_000, 1_000]);
        advance(SECOND).await;
        answered(&refusals, Code::PermissionDenied, 1);
        advance(SECOND).await;
        answered(&refusals, Code::PermissionDenied, REFUSED);
        assert_eq!(pause(&refusals), Some(50), "after a second without");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_as_short_as_the_first_after_a_time_without_calls() {
        let refusals = Refusals::new();
        for (idle, wanted) in [(0, 50), (1_900, 100), (FORGIVEN.as_millis() + 1, 50)] {
            advance(Duration::from_millis(u64::try_from(idle).unwrap())).await;
            answered(&refusals, Code::PermissionDenied, REFUSED);
            let milliseconds = pause(&refusals).unwrap();
            assert_eq!(milliseconds, wanted, "after {idle} ms");
            advance(Duration::from_millis(u64::try_from(milliseconds).unwrap())).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_share_a_connection_are_not_punished_for_one_of_them() {
        let refusals = Refusals::new();
        for _ in 0..200 {
            answered(&refusals, Code::Ok, 1);
            answered(&refusals, Code::PermissionDenied, 1);
        }
        assert_eq!(pause(&refusals), None);
        answered(&refusals, Code::Unauthenticated, UNAUTHENTICATED - 2);
        answered(&refusals, Code::Ok, 1);
        answered(&refusals, Code::Unauthenticated, 1);
        let closed = tokio::time::timeout(Duration::ZERO, refusals.closed()).await;
        assert!(closed.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_cannot_be_verified_pause_a_connection_and_reset_no_row() {
        let refusals = Refusals::new();
        answered(&refusals, Code::Unauthenticated, UNAUTHENTICATED - 1);
        (0..REFUSED).for_each(|_| refusals.note_unverifiable());
        assert_eq!(pause(&refusals), Some(50));
        assert!(tokio::time::timeout(Duration::ZERO, refusals.closed()).await.is_err());
        answered(&refusals, Code::Unauthenticated, 1);
        assert!(tokio::time::timeout(Duration::ZERO, refusals.closed()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn failed_authentications_in_a_row_close_a_connection() {
        let refusals = Refusals::new();
        answered(&refusals, Code::Unauthenticated, UNAUTHENTICATED - 1);
        assert!(tokio::time::timeout(Duration::ZERO, refusals.closed()).await.is_err());
        answered(&refusals, Code::Unauthenticated, 1);
        assert!(tokio::time::timeout(Duration::ZERO, refusals.closed()).await.is_ok());
    }
}
