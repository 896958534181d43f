//! Pauses after failures, for a resource's refresh and for an account's budget.

use std::time::Duration;

use fastrand::Rng;

/// The longest Retry-After that is respected.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// The time between probes of a refused credential or resource.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(30);

/// The shortest pause after a failure.
pub const MIN_BACKOFF: Duration = Duration::from_millis(250);

/// The longest pause after a failure while callers may be waiting.
pub const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// Decorrelated jitter: the next pause, drawn between the shortest one and three times
/// `previous`, up to `cap`.
pub fn next_pause(previous: Duration, cap: Duration, rng: &mut Rng) -> Duration {
    let widest = (previous * 3).max(MIN_BACKOFF);
    let drawn = MIN_BACKOFF + widest.saturating_sub(MIN_BACKOFF).mul_f64(rng.f64());
    drawn.min(cap)
}
