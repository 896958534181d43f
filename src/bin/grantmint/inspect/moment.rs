//! Instants as people read them.

use std::time::{Duration, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use serde_json::Value;

/// The last second of the year 9999, the last that RFC 3339 can name.
const LAST: i64 = 253_402_300_799;

/// A whole second since the Unix epoch that RFC 3339 can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(u64);

impl Moment {
    /// The instant that a time claim names, rounded down: a number of seconds, by RFC 7519.
    pub(super) fn read(claim: Option<&Value>) -> Option<Self> {
        let claim = claim?;
        #[expect(clippy::cast_possible_truncation, reason = "saturates, and is then too late")]
        let seconds =
            claim.as_i64().or_else(|| claim.as_f64().map(|seconds| seconds.floor() as i64))?;
        (0..=LAST).contains(&seconds).then_some(Self(seconds.cast_unsigned()))
    }

    /// In UTC, by RFC 3339.
    pub(super) fn absolute(self) -> String {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(self.0)).to_string()
    }

    /// How many seconds after `now` it lies.
    pub(super) fn seconds_from(self, now: i64) -> i64 {
        self.0.cast_signed().saturating_sub(now)
    }

    /// Absolute, and relative to `now`.
    pub(super) fn told(self, now: i64) -> String {
        let relative = match self.seconds_from(now) {
            0 => "now".to_owned(),
            ahead @ 1.. => format!("in {}", length(ahead.unsigned_abs())),
            past => format!("{} ago", length(past.unsigned_abs())),
        };
        format!("{}, {relative}", self.absolute())
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.absolute())
    }
}

/// A length of time in its largest unit and the next.
fn length(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let largest = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let mut left = seconds;
    let mut parts = Vec::new();
    for (unit, name) in UNITS.iter().skip(largest).take(2) {
        if left >= *unit || parts.is_empty() {
            parts.push(format!("{} {name}", left / unit));
        }
        left %= unit;
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_moment_is_told_in_utc_and_from_now() {
        let moment = Moment::read(Some(&json!(1_700_000_000))).unwrap();
        assert_eq!(moment.told(1_699_999_959), "2023-11-14T22:13:20Z, in 41 s");
        assert_eq!(moment.told(1_700_000_012), "2023-11-14T22:13:20Z, 12 s ago");
        assert_eq!(moment.told(1_700_000_000), "2023-11-14T22:13:20Z, now");
    }

    #[test]
    fn a_length_is_told_in_two_units() {
        for (seconds, meant) in [
            (59, "59 s"),
            (60, "1 min"),
            (3_599, "59 min 59 s"),
            (3_661, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(length(seconds), meant);
        }
    }

    #[test]
    fn what_no_calendar_holds_is_no_moment() {
        assert_eq!(Moment::read(Some(&json!(1.9))), Some(Moment(1)));
        assert_eq!(Moment::read(Some(&json!(LAST))).unwrap().absolute(), "9999-12-31T23:59:59Z");
        for claim in [
            json!(-1),
            json!(-0.5),
            json!(LAST + 1),
            json!(u64::MAX),
            json!(1e300),
            json!("1"),
            json!(null),
        ] {
            assert_eq!(Moment::read(Some(&claim)), None, "{claim}");
        }
    }
}
