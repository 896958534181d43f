//! When calls are retried and streams resumed.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tonic::Code;

use crate::Error;

const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// How long a stream is resumed without progress by default.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The least time after which a silent stream counts as failed.
const MIN_SILENCE: Duration = Duration::from_secs(15);

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
    /// The first failure since the last progress.
    failing_since: Option<Instant>,
    retry_at: Option<Instant>,
}

impl Resumption {
    pub(crate) const fn new() -> Self {
        Self { patience: PATIENCE, failures: 0, failing_since: None, retry_at: None }
    }

    pub(crate) const fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// How long a stream may be silent. The server holds a call for up to 10 s until it has a
    /// grant.
    pub(crate) fn max_silence(&self) -> Duration {
        self.patience.max(MIN_SILENCE)
    }

    /// Waits for the pause after the last failure. A caller that drops this future and calls
    /// again waits for the same instant.
    pub(crate) async fn ready(&mut self) {
        if let Some(at) = self.retry_at {
            sleep_until(at).await;
            self.retry_at = None;
        }
    }

    pub(crate) const fn progressed(&mut self) {
        (self.failures, self.failing_since) = (0, None);
    }

    /// Plans the next attempt and returns the pause before it; `None` if there is none.
    pub(crate) fn after(&mut self, error: &Error) -> Option<Duration> {
        let now = Instant::now();
        let is_first = self.failing_since.is_none();
        let since = *self.failing_since.get_or_insert(now);
        self.failures = self.failures.saturating_add(1);
        let pause = error.retry_after().unwrap_or_else(|| backoff(self.failures));
        let is_in_time = now.saturating_duration_since(since).saturating_add(pause) < self.patience;
        if !is_in_time || !is_resumable(error, is_first) {
            self.progressed();
            return None;
        }
        self.retry_at = now.checked_add(pause);
        Some(pause)
    }
}

/// A stream also ends at its deadline, and when the bearer token expires that it was opened with:
/// then the file may hold the next one.
fn is_resumable(error: &Error, is_first: bool) -> bool {
    let cause = || error.metadata().remove("cause");
    match error.code() {
        Code::DeadlineExceeded | Code::Cancelled => true,
        Code::Unauthenticated => {
            is_first && matches!(cause().as_deref(), Some("expired" | "unknown_key"))
        }
        _ => error.is_retryable(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::{
        Code, Status,
        metadata::{Ascii, MetadataValue},
    };
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
    async fn expired_bearer_is_replaced_once() {
        let mut details = ErrorDetails::new();
        let cause = HashMap::from([("cause".to_owned(), "expired".to_owned())]);
        details.set_error_info("CALLER_UNAUTHENTICATED", "grantmint", cause);
        let error: Error =
            Status::with_error_details(Code::Unauthenticated, "expired", details).into();
        let mut resumption = Resumption::new();
        assert!(resumption.after(&error).is_some());
        assert!(resumption.after(&error).is_none());
    }
}
