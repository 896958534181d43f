//! A call's deadline.

use std::time::Duration;

use http::HeaderMap;

/// The timeout of a unary call without a deadline.
pub(super) const DEFAULT: Duration = Duration::from_secs(12);

/// Less time than any call takes: a deadline within it counts as passed.
pub(super) const NO_TIME: Duration = Duration::from_micros(1);

/// The caller's `grpc-timeout`: up to eight digits and a unit. A malformed one is ignored.
pub(super) fn requested(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3_600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}
