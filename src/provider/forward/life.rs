//! How long a credential lasts, and what states it.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{errors::MALFORMED, pointer::Pointer};
use crate::{clock::WallTime, grant::Fault, settings::MAX_DURATION, source::Granted};

/// How much earlier an expiry in whole seconds may be than the true expiry.
const ROUNDING: Duration = Duration::from_secs(1);

/// Where the life of a credential is stated, with a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LifeRule {
    pub(super) at: LifeAt,
    /// The life if the response states none.
    pub(super) otherwise: Option<Duration>,
}

/// Where the life of a credential is stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LifeAt {
    /// A number of seconds in the response.
    Seconds(Pointer),
    /// An expiry in the response: RFC 3339, or Unix seconds.
    Until(Pointer),
    /// The `exp` of the credential, a JWT.
    Jwt,
    /// The requested life.
    Requested,
    /// A constant.
    Fixed(Duration),
}

/// What a life is computed from.
#[derive(Clone, Copy, Debug)]
pub(super) struct LifeBasis {
    /// The local wall clock before the request was sent.
    pub(super) anchor: WallTime,
    /// The response's Date.
    pub(super) date: Option<WallTime>,
    /// The requested life.
    pub(super) requested: Option<Duration>,
    /// The response's Age: how long caches have held it.
    pub(super) age: Duration,
}

/// A life, and the expiry that the response or the credential states, in Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Life {
    pub(super) granted: Granted,
    pub(super) expires: Option<f64>,
}

impl From<LifeAt> for LifeRule {
    fn from(at: LifeAt) -> Self {
        Self { at, otherwise: None }
    }
}

impl LifeRule {
    /// The life of `credential` by this rule. It never exceeds the requested life or the expiry
    /// that a JWT states, and is reduced by the time a cache held the response.
    ///
    /// # Errors
    ///
    /// Neither the response nor the configuration states a life, or the stated value is invalid.
    pub(super) fn read(
        &self,
        whole: Option<&RawValue>,
        credential: &str,
        at: LifeBasis,
    ) -> Result<Life, Fault> {
        let ends_inside = jwt_end(credential);
        let of = |pointer: &Pointer| match whole {
            Some(whole) => {
                let found = pointer.follow(whole).map_err(|_| MALFORMED)?;
                Ok(found.map(RawValue::get).filter(|it| *it != "null"))
            }
            None => Ok(None),
        };
        let (stated, expires) = match &self.at {
            LifeAt::Seconds(pointer) => (of(pointer)?.map(seconds).transpose()?, ends_inside),
            LifeAt::Until(pointer) => {
                let end = of(pointer)?.map(end).transpose()?;
                (end.map(|end| at.remaining(end)).transpose()?, end.or(ends_inside))
            }
            LifeAt::Jwt => (ends_inside.map(|end| at.remaining(end)).transpose()?, ends_inside),
            LifeAt::Requested | LifeAt::Fixed(_) => (None, ends_inside),
        };
        let assumed = match self.at {
            LifeAt::Requested => at.requested,
            LifeAt::Fixed(life) => Some(life),
            _ => self.otherwise,
        };
        // An expiry in the past means that a clock is wrong, so it is ignored.
        let left_inside = ends_inside.and_then(|end| at.remaining(end).ok());
        let left_inside = left_inside.filter(|left| !left.is_zero());
        // A life counted from the response started when a cache stored it.
        let is_counted = !matches!(self.at, LifeAt::Until(_) | LifeAt::Jwt);
        let age = if is_counted { at.age } else { Duration::ZERO };
        let left = |life: Duration| {
            let life = life.saturating_sub(age);
            // An expiry in whole seconds is up to one second early.
            left_inside.filter(|left| *left + ROUNDING < life).unwrap_or(life)
        };
        let granted = match (stated, assumed) {
            (Some(life), _) => {
                Granted::Stated(left(at.requested.map_or(life, |requested| life.min(requested))))
            }
            (None, Some(life)) => Granted::Assumed(left(life)),
            (None, None) => return Err(MALFORMED),
        };
        if granted.ttl().is_zero() { Err(MALFORMED) } else { Ok(Life { granted, expires }) }
    }
}

impl LifeBasis {
    /// The time until `end`, by the clock that gives less: the local clock before the request, or
    /// the upstream's by the response's Date. It never exceeds the stated life, however much the
    /// clocks differ.
    fn remaining(self, end: f64) -> Result<Duration, Fault> {
        let end = Duration::try_from_secs_f64(end).map_err(|_| MALFORMED)?;
        let end = WallTime::from_unix_seconds(0) + end;
        let now = self.date.map_or(self.anchor, |date| date.max(self.anchor));
        let left = end.since(now);
        // Probably milliseconds instead of seconds.
        if left > MAX_DURATION { Err(MALFORMED) } else { Ok(left) }
    }
}

/// Positive whole seconds from a number or a decimal string, rounded down.
fn seconds(raw: &str) -> Result<Duration, Fault> {
    let seconds = number(raw).ok_or(MALFORMED)?.floor();
    if seconds < 1.0 {
        return Err(MALFORMED);
    }
    // A value too long for a Duration exceeds the limit anyway.
    Ok(Duration::try_from_secs_f64(seconds).map_or(MAX_DURATION, |life| life.min(MAX_DURATION)))
}

/// An expiry in Unix seconds, from a number, a decimal string or RFC 3339.
fn end(raw: &str) -> Result<f64, Fault> {
    if let Some(number) = number(raw) {
        return Ok(number);
    }
    let text: String = serde_json::from_str(raw).map_err(|_| MALFORMED)?;
    rfc3339(&text).ok_or(MALFORMED)
}

/// A number, or a string of digits with at most one point.
fn number(raw: &str) -> Option<f64> {
    if !raw.starts_with('"') {
        return serde_json::from_str(raw).ok();
    }
    let text: String = serde_json::from_str(raw).ok()?;
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    is_decimal.then(|| text.parse().ok())?
}

/// An RFC 3339 time, with any offset, in Unix seconds.
fn rfc3339(text: &str) -> Option<f64> {
    let text = text.to_ascii_uppercase();
    let (local, ahead) = if let Some(local) = text.strip_suffix('Z') {
        (local, 0)
    } else {
        let (local, offset) = text.split_at_checked(text.len().checked_sub(6)?)?;
        let (sign, offset) = offset.split_at_checked(1)?;
        let (hours, minutes) = offset.split_once(':')?;
        let minutes = hours.parse::<i32>().ok()? * 60 + minutes.parse::<i32>().ok()?;
        match sign {
            "+" => (local, minutes),
            "-" => (local, -minutes),
            _ => return None,
        }
    };
    let local = humantime::parse_rfc3339(&format!("{local}Z")).ok()?;
    let since = local.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since.as_secs_f64() - 60.0 * f64::from(ahead))
}

/// A configured life.
///
/// # Errors
///
/// The value is invalid; the message follows the key's name.
pub(super) fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let life = humantime::parse_duration(text).map_err(|_| r#"is not a duration like "10m""#)?;
    if life.is_zero() || life > MAX_DURATION {
        return Err("must be over zero, and at most a year");
    }
    Ok(life)
}

/// The `exp` of a credential that is a JWT. Nothing is verified.
pub(super) fn jwt_end(credential: &str) -> Option<f64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: Option<f64>,
    }

    let mut parts = credential.split('.');
    let (_, claims, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims =
        BASE64_URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok().map(Zeroizing::new)?;
    serde_json::from_slice::<Claims>(&claims).ok()?.exp
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn read(
        rule: &LifeRule,
        value: &serde_json::Value,
        requested: Option<u64>,
    ) -> Result<Granted, Fault> {
        read_at(rule, value, requested, None)
    }

    fn read_at(
        rule: &LifeRule,
        value: &serde_json::Value,
        requested: Option<u64>,
        date: Option<i64>,
    ) -> Result<Granted, Fault> {
        let text = json!({"life": value}).to_string();
        let whole: &RawValue = serde_json::from_str(&text).unwrap();
        let at = LifeBasis {
            anchor: WallTime::from_unix_seconds(NOW),
            date: date.map(WallTime::from_unix_seconds),
            requested: requested.map(Duration::from_secs),
            age: Duration::ZERO,
        };
        rule.read(Some(whole), "credential", at).map(|life| life.granted)
    }

    fn stated(seconds: u64) -> Granted {
        Granted::Stated(Duration::from_secs(seconds))
    }

    fn pointer() -> Pointer {
        "/life".parse().unwrap()
    }

    #[test]
    fn seconds_are_a_number_or_decimal_string_rounded_down() {
        let rule = LifeRule::from(LifeAt::Seconds(pointer()));
        for (value, life) in [
            (json!(30), 30),
            (json!(59.94), 59),
            (json!("86400"), 86_400),
            (json!("59.9"), 59),
            (json!(1e2), 100),
            (json!(1e300), MAX_DURATION.as_secs()),
        ] {
            assert_eq!(read(&rule, &value, None), Ok(stated(life)), "{value}");
        }
        for value in [
            json!(0),
            json!(0.9),
            json!(-1),
            json!(""),
            json!("-1"),
            json!("1e3"),
            json!("NaN"),
            json!("inf"),
            json!("1h"),
            json!(true),
            json!([60]),
            json!({}),
            json!(null),
            json!(".."),
        ] {
            assert_eq!(read(&rule, &value, None), Err(MALFORMED), "{value}");
        }
        assert_eq!(
            read(&rule, &json!(30), Some(60)),
            Ok(stated(30)),
            "the response takes precedence"
        );
        assert_eq!(read(&rule, &json!(90), Some(60)), Ok(stated(60)), "never lengthened");
    }

    #[test]
    fn configured_life_applies_only_if_none_is_stated() {
        let otherwise = Duration::from_secs(600);
        let rule = LifeRule { at: LifeAt::Seconds(pointer()), otherwise: Some(otherwise) };
        assert_eq!(read(&rule, &json!(30), None), Ok(stated(30)));
        assert_eq!(read(&rule, &json!(null), None), Ok(Granted::Assumed(otherwise)));
        assert_eq!(read(&rule, &json!(0), None), Err(MALFORMED));
        let rule = LifeRule::from(LifeAt::Requested);
        let requested = Granted::Assumed(Duration::from_secs(60));
        assert_eq!(read(&rule, &json!(1), Some(60)), Ok(requested));
        assert_eq!(read(&rule, &json!(1), None), Err(MALFORMED));
    }

    #[test]
    fn expiry_is_a_time_or_unix_seconds() {
        let rule = LifeRule::from(LifeAt::Until(pointer()));
        for value in [
            json!("2023-11-14T23:13:20Z"),
            json!("2023-11-14t23:13:20.000z"),
            json!("2023-11-15T01:13:20+02:00"),
            json!("2023-11-14T17:43:20-05:30"),
            json!(NOW + 3_600),
            json!((NOW + 3_600).to_string()),
        ] {
            assert_eq!(read(&rule, &value, None), Ok(stated(3_600)), "{value}");
        }
        for value in [
            json!("2023-11-14"),
            json!("tomorrow"),
            json!("2023-11-14T23:13:20"),
            json!(true),
            json!((NOW + 3_600) * 1_000),
            json!(NOW),
            json!(NOW - 1),
            json!(-1),
            json!("é+02:00"),
            json!(null),
        ] {
            assert_eq!(read(&rule, &value, None), Err(MALFORMED), "{value}");
        }
    }

    #[test]
    fn clock_with_the_shorter_life_wins() {
        let rule = LifeRule::from(LifeAt::Until(pointer()));
        let until = json!(NOW + 3_600);
        for (date, life) in [(0, 3_600), (600, 3_000), (-600, 3_600)] {
            assert_eq!(read_at(&rule, &until, None, Some(NOW + date)), Ok(stated(life)), "{date}");
        }
    }

    #[test]
    fn jwt_states_its_own_expiry() {
        let claims = BASE64_URL_SAFE_NO_PAD.encode(json!({"exp": NOW + 600}).to_string());
        let token = format!("e30.{claims}.c2ln");
        let at = LifeBasis {
            anchor: WallTime::from_unix_seconds(NOW),
            date: None,
            requested: None,
            age: Duration::ZERO,
        };
        let expires = Some(1_700_000_600.0);
        let life = LifeRule::from(LifeAt::Jwt).read(None, &token, at).unwrap();
        assert_eq!(life, Life { granted: stated(600), expires });
        let fixed = LifeRule::from(LifeAt::Fixed(Duration::from_secs(60)));
        let granted = Granted::Assumed(Duration::from_secs(60));
        assert_eq!(fixed.read(None, &token, at), Ok(Life { granted, expires }));
        let longer = LifeRule::from(LifeAt::Fixed(Duration::from_secs(3_600)));
        let granted = Granted::Assumed(Duration::from_secs(600));
        assert_eq!(longer.read(None, &token, at), Ok(Life { granted, expires }));
        let late = LifeBasis { anchor: WallTime::from_unix_seconds(NOW + 601), ..at };
        let granted = Granted::Assumed(Duration::from_secs(3_600));
        assert_eq!(
            longer.read(None, &token, late),
            Ok(Life { granted, expires }),
            "an expiry in the past is ignored"
        );
        // The time in a cache reduces the life, but not the credential's own expiry.
        let held = LifeBasis { age: Duration::from_secs(3_300), ..at };
        let granted = Granted::Assumed(Duration::from_secs(300));
        assert_eq!(longer.read(None, &token, held), Ok(Life { granted, expires }));
        let life = LifeRule::from(LifeAt::Jwt).read(None, &token, held).unwrap();
        assert_eq!(life.granted, stated(600));
        for other in ["", "a.b", "a.b.c", "e30.e30.e30", "e30.W10.e30"] {
            assert_eq!(
                LifeRule::from(LifeAt::Jwt).read(None, other, at),
                Err(MALFORMED),
                "{other}"
            );
        }
    }
}
