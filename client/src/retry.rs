//! When calls are retried and streams resumed.

use std::{mem, time::Duration};

use tokio::time::{Instant, sleep_until};
use tonic::{Code, Status};

use crate::Error;

const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// How long to wait for progress by default.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long the only attempt without patience may be silent. The server holds a call for up to 10 s
/// until it has a grant.
const ATTEMPT: Duration = Duration::from_secs(15);

/// The pause after this number of failed attempts; `None` where a retry is pointless.
///
/// The server's pushback replaces the back-off; a negative one forbids the retry.
pub(crate) fn pause(error: &Error, failures: u32) -> Option<Duration> {
    if !error.is_retryable() {
        return None;
    }
    match error.status().metadata().get("grpc-retry-pushback-ms") {
        Some(pushback) => pushback.to_str().ok()?.parse().ok().map(Duration::from_millis),
        None => Some(backoff(failures)),
    }
}

/// A random pause up to 200 ms, then 400 ms and so on up to 2 s.
fn backoff(failures: u32) -> Duration {
    let most = FIRST_BACKOFF.saturating_mul(1 << failures.saturating_sub(1).min(16));
    most.min(MAX_BACKOFF).mul_f64(fastrand::f64())
}

/// Decides whether and when a stream is resumed after a failure.
#[derive(Debug)]
pub(crate) struct Resumption {
    patience: Duration,
    failures: u32,
    /// When the wait for progress began: at the first attempt or failure since the last progress.
    waiting_since: Option<Instant>,
    /// The last failure since the last progress.
    last: Option<Error>,
    /// Whether a bearer expired since the last progress, and the next one was tried.
    is_bearer_replaced: bool,
    retry_at: Option<Instant>,
}

impl Resumption {
    pub(crate) const fn new() -> Self {
        Self {
            patience: PATIENCE,
            failures: 0,
            waiting_since: None,
            last: None,
            is_bearer_replaced: false,
            retry_at: None,
        }
    }

    pub(crate) const fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Starts waiting for progress, unless it has already. Returns when patience ends; `None` for
    /// never.
    pub(crate) fn wait(&mut self) -> Option<Instant> {
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        since.checked_add(if self.patience.is_zero() { ATTEMPT } else { self.patience })
    }

    /// The error if patience ends without a response: the last failure if there was one, since it
    /// says more.
    pub(crate) fn silence(&self) -> Error {
        let silence = || Status::deadline_exceeded("no token was received for too long").into();
        self.last.clone().unwrap_or_else(silence)
    }

    /// Waits for the pause after the last failure. A caller that drops this future and calls
    /// again waits for the same instant.
    pub(crate) async fn ready(&mut self) {
        if let Some(at) = self.retry_at {
            sleep_until(at).await;
            self.retry_at = None;
        }
    }

    pub(crate) fn progressed(&mut self) {
        *self = Self { patience: self.patience, ..Self::new() };
    }

    /// Plans the next attempt and returns the pause before it; `None` if there is none.
    pub(crate) fn after(&mut self, error: &Error) -> Option<Duration> {
        let now = Instant::now();
        let since = *self.waiting_since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        let pause = error.retry_after().unwrap_or_else(|| backoff(self.failures));
        let is_in_time = now.saturating_duration_since(since).saturating_add(pause) < self.patience;
        if !is_in_time || !self.is_resumable(error) {
            self.progressed();
            return None;
        }
        self.last = Some(error.clone());
        self.retry_at = now.checked_add(pause);
        Some(pause)
    }

    /// A stream also ends at its deadline, and when the bearer token expires that it was opened
    /// with: then the file may hold the next one.
    fn is_resumable(&mut self, error: &Error) -> bool {
        let cause = || error.metadata().remove("cause");
        match error.code() {
            Code::DeadlineExceeded | Code::Cancelled => true,
            Code::Unauthenticated => {
                matches!(cause().as_deref(), Some("expired" | "unknown_key"))
                    && !mem::replace(&mut self.is_bearer_replaced, true)
            }
            _ => error.is_retryable(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tokio::time::sleep;
    use tonic::metadata::{Ascii, MetadataValue};
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    fn unavailable(pushback: Option<&'static str>) -> Error {
        let mut status = Status::unavailable("no grant yet");
        if let Some(pushback) = pushback {
            let value = MetadataValue::<Ascii>::from_static(pushback);
            status.metadata_mut().insert("grpc-retry-pushback-ms", value);
        }
        status.into()
    }

    #[test]
    fn pushback_replaces_the_backoff() {
        assert_eq!(pause(&unavailable(Some("1500")), 1), Some(Duration::from_millis(1_500)));
        assert_eq!(pause(&unavailable(Some("-1")), 1), None);
        let random = pause(&unavailable(None), 2).unwrap();
        assert!(random <= FIRST_BACKOFF * 2, "{random:?}");
    }

    #[test]
    fn refused_requests_are_not_retried() {
        for code in [Code::InvalidArgument, Code::PermissionDenied, Code::FailedPrecondition] {
            assert_eq!(pause(&Status::new(code, "").into(), 1), None, "{code:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn stream_is_resumed_until_patience_ends() {
        let mut resumption = Resumption::new();
        resumption.set_patience(Duration::from_secs(5));
        let started = Instant::now();
        while resumption.after(&unavailable(None)).is_some() {
            resumption.ready().await;
        }
        let took = started.elapsed();
        assert!(took > Duration::from_secs(2) && took <= Duration::from_secs(5), "{took:?}");
        // The next failure counts from its own time.
        assert!(resumption.after(&unavailable(None)).is_some());
        resumption.set_patience(Duration::ZERO);
        assert_eq!(resumption.after(&unavailable(None)), None);
    }

    #[tokio::test(start_paused = true)]
    async fn patience_counts_from_the_attempt_and_ends_in_last_failure() {
        let mut resumption = Resumption::new();
        resumption.set_patience(Duration::from_secs(5));
        let started = Instant::now();
        let end = Some(started + Duration::from_secs(5));
        assert_eq!(resumption.wait(), end);
        assert_eq!(resumption.silence().code(), Code::DeadlineExceeded);
        sleep(Duration::from_secs(4)).await;
        assert!(resumption.after(&unavailable(None)).is_some());
        assert_eq!(resumption.wait(), end);
        assert_eq!(resumption.silence().code(), Code::Unavailable);
        sleep_until(started + Duration::from_secs(5)).await;
        let silence = resumption.silence();
        assert_eq!(resumption.after(&silence), None);
        // A caller that is slow between two chunks does not use up the patience.
        resumption.progressed();
        sleep(Duration::from_secs(60)).await;
        assert_eq!(resumption.wait(), Some(Instant::now() + Duration::from_secs(5)));
    }

    #[tokio::test(start_paused = true)]
    async fn expired_bearer_is_replaced_once() {
        let mut details = ErrorDetails::new();
        let cause = HashMap::from([("cause".to_owned(), "expired".to_owned())]);
        details.set_error_info("CALLER_UNAUTHENTICATED", "grantmint", cause);
        let error: Error =
            Status::with_error_details(Code::Unauthenticated, "expired", details).into();
        let mut resumption = Resumption::new();
        // It may expire while a bulk waits for something else.
        assert!(resumption.after(&unavailable(None)).is_some());
        assert!(resumption.after(&error).is_some());
        assert!(resumption.after(&unavailable(None)).is_some());
        assert!(resumption.after(&error).is_none());
        assert!(resumption.after(&error).is_some());
        resumption.progressed();
        assert!(resumption.after(&error).is_some());
    }
}
