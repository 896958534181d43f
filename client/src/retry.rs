//! When a call is retried.

use std::time::Duration;

use crate::Error;

/// As many as gRPC allows in a service config, less one.
const MAX_ATTEMPTS: u32 = 4;

const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The pause before attempt `attempt + 1`; `None` where a retry is pointless.
///
/// It is the policy of `examples/service_config.json`, which tonic does not read. The server's
/// pushback replaces the back-off; a negative one forbids the retry.
pub(crate) fn pause(error: &Error, attempt: u32) -> Option<Duration> {
    if attempt >= MAX_ATTEMPTS || !error.is_retryable() {
        return None;
    }
    match error.status().metadata().get("grpc-retry-pushback-ms") {
        Some(pushback) => pushback.to_str().ok()?.parse().ok().map(Duration::from_millis),
        None => Some(backoff(attempt)),
    }
}

/// A random pause up to 200 ms, then 400 ms and so on up to 2 s.
pub(crate) fn backoff(attempt: u32) -> Duration {
    let most = FIRST_BACKOFF.saturating_mul(1 << attempt.saturating_sub(1).min(16));
    most.min(MAX_BACKOFF).mul_f64(fastrand::f64())
}

#[cfg(test)]
mod tests {
    use tonic::{
        Code, Status,
        metadata::{Ascii, MetadataValue},
    };

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
    fn refused_requests_and_the_last_attempt_are_not_retried() {
        assert_eq!(pause(&unavailable(Some("5")), MAX_ATTEMPTS), None);
        for code in [Code::InvalidArgument, Code::PermissionDenied, Code::FailedPrecondition] {
            assert_eq!(pause(&Status::new(code, "").into(), 1), None, "{code:?}");
        }
    }
}
