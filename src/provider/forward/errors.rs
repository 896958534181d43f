//! What refusals mean: by the codes in their bodies, by the provider's own rules, by status.

use std::{borrow::Cow, time::Duration};

use serde_json::{Value, value::RawValue};

use super::pointer::Pointer;
use crate::{
    clock::WallTime,
    grant::{Fault, FaultClass},
    source::{FetchError, http::Answer, json},
};

/// The classes of codes that an upstream has in its bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ErrorCodes {
    /// Where a body has its code.
    pub(super) pointer: Pointer,
    /// The classes of those that are known, a number as its digits.
    pub(super) classes: Vec<(String, FaultClass)>,
}

/// What a provider's refusals mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Errors {
    pub(super) codes: Option<ErrorCodes>,
    /// Statuses that mean something else than they usually do.
    pub(super) statuses: &'static [(u16, FaultClass)],
    pub(super) rate_limit: Option<RateLimit>,
}

/// Headers that tell a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateLimit {
    /// Requests that are left.
    pub(super) remaining: &'static str,
    /// When there will be more, in Unix seconds.
    pub(super) reset: &'static str,
}

impl Errors {
    /// Whether an answer is no refusal, that came when it was `now`.
    ///
    /// # Errors
    ///
    /// It is one: throttled, where it says how long to wait; else of the class that its code has;
    /// else throttled, where the provider's rate limit is spent; else by its status.
    pub(super) fn judge(&self, answer: &Answer, now: WallTime) -> Result<(), FetchError> {
        let says_when = answer.retry_after().is_some();
        if says_when && matches!(answer.status.as_u16(), 403 | 429 | 503) {
            return Err(answer.refused_as(FaultClass::Throttled));
        }
        if let Some(codes) = &self.codes
            && let Some(code) = codes.code_in(answer)
            && let Some(class) = codes.class_of(&code, answer.status.is_success())
        {
            // Who says when to come back is heard, whatever heals then.
            let class = match class {
                FaultClass::Transient if says_when => FaultClass::Throttled,
                class => class,
            };
            let fault = Fault { class, reason: codes.reason(&code), not_found: false };
            let retry_after = answer.retry_after().filter(|_| class == FaultClass::Throttled);
            return Err(FetchError::Failed { fault, retry_after });
        }
        let may_be_throttled = matches!(answer.status.as_u16(), 403 | 429);
        if may_be_throttled && let Some(limit) = self.rate_limit.filter(|it| it.is_spent(answer)) {
            return Err(match answer.refused_as(FaultClass::Throttled) {
                FetchError::Failed { fault, .. } => {
                    FetchError::Failed { fault, retry_after: limit.wait(answer, now) }
                }
                other => other,
            });
        }
        let status = answer.status.as_u16();
        if let Some((_, class)) = self.statuses.iter().find(|(its, _)| *its == status) {
            return Err(answer.refused_as(*class));
        }
        answer.by_status()
    }
}

impl ErrorCodes {
    /// Its code, as text; none where the body says that there is no error, or is none.
    fn code_in(&self, answer: &Answer) -> Option<String> {
        let whole: &RawValue = json::parse(answer.body().ok()?).ok()?;
        let code = serde_json::from_str(self.pointer.follow(whole).ok()??.get()).ok()?;
        let code = match code {
            Value::String(text) => text,
            Value::Number(number) => number.to_string(),
            _ => return None,
        };
        Some(code).filter(|code| !code.is_empty() && code != "0")
    }

    /// The class of a code. One that is not known is a refusal of the resource where the status
    /// says that all is well: nobody knows whether it heals, and what is refused so is asked for
    /// again slowly. Elsewhere the status tells.
    fn class_of(&self, code: &str, is_success: bool) -> Option<FaultClass> {
        let known = self.classes.iter().find(|(known, _)| known == code);
        match known {
            Some((_, class)) => Some(*class),
            None => is_success.then_some(FaultClass::Resource),
        }
    }

    /// The reason that a code becomes. Of those that are not known only short numbers: what else
    /// an upstream writes there may be anything.
    fn reason(&self, code: &str) -> Cow<'static, str> {
        let is_known = self.classes.iter().any(|(known, _)| known == code);
        let digits = code.strip_prefix('-').unwrap_or(code);
        let is_number = digits.len() <= 7 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_known || is_number { reason(code) } else { "UPSTREAM_CODE_UNKNOWN".into() }
    }
}

impl RateLimit {
    /// Whether nothing is left.
    fn is_spent(self, answer: &Answer) -> bool {
        text(answer, self.remaining) == Some("0")
    }

    /// How long to wait, as far as that is told.
    fn wait(self, answer: &Answer, now: WallTime) -> Option<Duration> {
        let reset = text(answer, self.reset)?.parse().ok()?;
        Some(WallTime::from_unix_seconds(reset).since(now))
    }
}

/// A header's value.
fn text<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name)?.to_str().ok().map(str::trim)
}

/// The reason that a code becomes.
fn reason(code: &str) -> Cow<'static, str> {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    // A negative number is another code than its positive one.
    let code = code.strip_prefix('-').map_or_else(|| code.into(), |rest| format!("MINUS_{rest}"));
    let code: String = code.chars().map(plain).collect();
    format!("UPSTREAM_CODE_{}", code.trim_matches('_').to_ascii_uppercase()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_becomes_a_reason_and_what_is_not_known_none() {
        let classes = ["invalid_client", "Invalid credentials."];
        let codes = ErrorCodes {
            pointer: "/code".parse().unwrap(),
            classes: classes.map(|code| (code.to_owned(), FaultClass::Credential)).into(),
        };
        for (code, wanted) in [
            ("40001", "UPSTREAM_CODE_40001"),
            ("-1", "UPSTREAM_CODE_MINUS_1"),
            ("invalid_client", "UPSTREAM_CODE_INVALID_CLIENT"),
            ("Invalid credentials.", "UPSTREAM_CODE_INVALID_CREDENTIALS"),
            ("zqmarkerqz", "UPSTREAM_CODE_UNKNOWN"),
            ("12345678", "UPSTREAM_CODE_UNKNOWN"),
        ] {
            assert_eq!(codes.reason(code), wanted);
        }
        assert_eq!(codes.class_of("x", true), Some(FaultClass::Resource));
        assert_eq!(codes.class_of("x", false), None);
        assert_eq!(codes.class_of("invalid_client", true), Some(FaultClass::Credential));
    }
}
