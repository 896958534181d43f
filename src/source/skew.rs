//! How far an upstream's clock and ours are apart, by the Date of its answers. Nothing is
//! reckoned with it: lives are measured by our clock alone. But a token says its times by our
//! wall clock, and who reads it goes by another.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use http::{HeaderMap, HeaderValue, Uri, header};

use crate::clock::WallTime;

/// Further apart than this is worth a line in the log: more than what a Date leaves out, and
/// an answer's time on its way.
const TOLERANCE_SECONDS: f64 = 5.0;

/// What the last answer with a Date told.
#[derive(Debug, Default)]
pub(super) struct Skew {
    seconds: Mutex<Option<f64>>,
    apart: AtomicBool,
}

impl Skew {
    /// How many seconds the upstream's clock is ahead; none before an answer with a Date.
    pub(super) fn seconds(&self) -> Option<f64> {
        *self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of an answer that `upstream` gave, and that came at `now`.
    pub(super) fn note(&self, headers: &HeaderMap, now: WallTime, upstream: &Uri) {
        let Some(date) = headers.get(header::DATE).and_then(http_date) else { return };
        let seconds = ahead(date, now);
        *self.seconds.lock().unwrap_or_else(PoisonError::into_inner) = Some(seconds);

        let apart = seconds.abs() > TOLERANCE_SECONDS;
        if self.apart.swap(apart, Ordering::Relaxed) != apart {
            if apart {
                tracing::warn!(%upstream, seconds, "the upstream's clock and ours are apart");
            } else {
                tracing::info!(%upstream, seconds, "the upstream's clock and ours agree again");
            }
        }
    }
}

/// A Date has whole seconds, rounded down: half a second more is nearer on the whole.
#[expect(clippy::cast_precision_loss, reason = "microseconds between two clocks")]
fn ahead(date: WallTime, now: WallTime) -> f64 {
    date.unix_micros().saturating_sub(now.unix_micros()) as f64 / 1e6 + 0.5
}

/// An HTTP date; none where the value is something else, or lies before 1970.
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
    fn the_skew_is_what_the_upstreams_clock_is_ahead() {
        let skew = Skew::default();
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let now = WallTime::from_unix_seconds(SECOND);
        assert_eq!(noted(&skew, "yesterday", now), None);
        // Half of the second that the date leaves out.
        assert_eq!(noted(&skew, date, now + Duration::from_millis(500)), Some(0.0));
        assert_eq!(noted(&skew, date, now - Duration::from_millis(59_500)), Some(60.0));
        assert_eq!(noted(&skew, date, now + Duration::from_millis(60_500)), Some(-60.0));
        // What says nothing leaves what is known.
        assert_eq!(noted(&skew, "yesterday", now), Some(-60.0));
        skew.note(&HeaderMap::new(), now, &Uri::from_static("https://upstream.example"));
        assert_eq!(skew.seconds(), Some(-60.0));
    }
}
