//! The skew between an upstream's clock and ours, by the Date of its responses. It is only
//! reported: lives are measured by our clock alone. But tokens carry times of our wall clock, which
//! verifiers compare with theirs.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use http::{HeaderMap, HeaderValue, Uri, header};

use crate::clock::WallTime;

/// A larger skew is logged. Smaller ones may come from the Date's whole seconds and the response's
/// latency.
pub const TOLERANCE_SECONDS: f64 = 5.0;

/// The skew by the last response with a Date.
#[derive(Debug, Default)]
pub(super) struct Skew {
    seconds: Mutex<Option<f64>>,
    exceeds: AtomicBool,
}

impl Skew {
    /// How many seconds the upstream's clock is ahead; none before a response with a Date.
    pub(super) fn seconds(&self) -> Option<f64> {
        *self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a response of `upstream`, received at `now`.
    pub(super) fn note(&self, headers: &HeaderMap, now: WallTime, upstream: &Uri) {
        let Some(date) = headers.get(header::DATE).and_then(http_date) else { return };
        let seconds = ahead(date, now);
        *self.seconds.lock().unwrap_or_else(PoisonError::into_inner) = Some(seconds);

        let exceeds = seconds.abs() > TOLERANCE_SECONDS;
        if self.exceeds.swap(exceeds, Ordering::Relaxed) != exceeds {
            if exceeds {
                tracing::warn!(%upstream, seconds, "clock skew to the upstream exceeds 5 s");
            } else {
                tracing::info!(%upstream, seconds, "clock skew to the upstream is within 5 s again");
            }
        }
    }
}

/// A Date has whole seconds, rounded down: half a second more is closer on average.
#[expect(clippy::cast_precision_loss, reason = "microseconds between two clocks")]
fn ahead(date: WallTime, now: WallTime) -> f64 {
    date.unix_micros().saturating_sub(now.unix_micros()) as f64 / 1e6 + 0.5
}

/// An HTTP date; none if the value is something else or before 1970.
pub(super) fn http_date(value: &HeaderValue) -> Option<WallTime> {
    let at = httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()?;
    let at = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(WallTime::from_unix_seconds(0) + at)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue, Uri, header};

    use super::{Skew, WallTime};

    const SECOND: i64 = 784_111_777;

    fn noted(skew: &Skew, date: &str, now: WallTime) -> Option<f64> {
        let mut headers = HeaderMap::new();
        headers.insert(header::DATE, HeaderValue::from_str(date).unwrap());
        skew.note(&headers, now, &Uri::from_static("https://upstream.example"));
        skew.seconds()
    }

    #[test]
    fn skew_is_how_far_the_upstreams_clock_is_ahead() {
        let skew = Skew::default();
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let now = WallTime::from_unix_seconds(SECOND);
        assert_eq!(noted(&skew, "yesterday", now), None);
        // Half of the second that the Date omits.
        assert_eq!(noted(&skew, date, now + Duration::from_millis(500)), Some(0.0));
        assert_eq!(noted(&skew, date, now - Duration::from_millis(59_500)), Some(60.0));
        assert_eq!(noted(&skew, date, now + Duration::from_millis(60_500)), Some(-60.0));
        // An invalid or missing Date changes nothing.
        assert_eq!(noted(&skew, "yesterday", now), Some(-60.0));
        skew.note(&HeaderMap::new(), now, &Uri::from_static("https://upstream.example"));
        assert_eq!(skew.seconds(), Some(-60.0));
    }
}
