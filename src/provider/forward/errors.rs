//! Classifies refusals: by the codes in their bodies, by the provider's rules, or by status.

use std::{borrow::Cow, time::Duration};

use serde_json::{Value, value::RawValue};

use super::pointer::Pointer;
use crate::{
    clock::WallTime,
    grant::{Fault, FaultClass},
    source::{FetchError, http::Answer, json},
};

/// The response is not what the upstream should return.
pub(super) const MALFORMED: Fault = Fault::new(FaultClass::Transient, "MALFORMED_ANSWER");

/// The classes of the error codes in an upstream's bodies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ErrorCodes {
    /// Where a body holds its code.
    pub(super) pointer: Pointer,
    /// The classes of the known codes; a number is written in digits.
    pub(super) classes: Vec<(String, FaultClass)>,
}

/// How a provider's refusals are classified.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Errors {
    pub(super) codes: Option<ErrorCodes>,
    /// Statuses with an unusual meaning.
    pub(super) statuses: &'static [(u16, FaultClass)],
    pub(super) rate_limit: Option<RateLimit>,
}

/// Headers that report a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateLimit {
    /// The remaining requests.
    pub(super) remaining: &'static str,
    /// When the limit is reset, in Unix seconds.
    pub(super) reset: &'static str,
}

impl Errors {
    /// Accepts a response that is not a refusal; `now` is when it was received.
    ///
    /// # Errors
    ///
    /// A refusal. It is throttled if it states how long to wait. Otherwise its code determines the
    /// class, then an exhausted rate limit (throttled), then its status.
    pub(super) fn classify(&self, answer: &Answer, now: WallTime) -> Result<(), FetchError> {
        let says_when = answer.retry_after().is_some();
        if says_when && matches!(answer.status.as_u16(), 403 | 429 | 503) {
            return Err(answer.refused_as(FaultClass::Throttled));
        }
        if let Some(codes) = &self.codes
            && let Some(code) = codes.code_in(answer)
            && let Some(class) = codes.class_of(&code, answer.status.is_success())
        {
            // A response with Retry-After is honored, whatever the fault.
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
    /// The code as a string; `None` if the body reports no error or is not JSON.
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

    /// The class of a code. An unknown code with a success status is a refusal of the resource: it
    /// may not recover, so retries are slow. With any other status, the status decides.
    fn class_of(&self, code: &str, is_success: bool) -> Option<FaultClass> {
        let known = self.classes.iter().find(|(known, _)| known == code);
        match known {
            Some((_, class)) => Some(*class),
            None => is_success.then_some(FaultClass::Resource),
        }
    }

    /// The reason for a code. Of the unknown codes only short numbers are included, since an
    /// upstream may write anything there.
    fn reason(&self, code: &str) -> Cow<'static, str> {
        let is_known = self.classes.iter().any(|(known, _)| known == code);
        let digits = code.strip_prefix('-').unwrap_or(code);
        let is_number = digits.len() <= 7 && digits.bytes().all(|byte| byte.is_ascii_digit());
        if is_known || is_number { reason(code) } else { "UPSTREAM_CODE_UNKNOWN".into() }
    }
}

impl RateLimit {
    /// Whether no requests remain.
    fn is_spent(self, answer: &Answer) -> bool {
        text(answer, self.remaining) == Some("0")
    }

    /// How long to wait, if known.
    fn wait(self, answer: &Answer, now: WallTime) -> Option<Duration> {
        let reset = text(answer, self.reset)?.parse().ok()?;
        Some(WallTime::from_unix_seconds(reset).since(now))
    }
}

/// A header's value.
fn text<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.headers.get(name)?.to_str().ok().map(str::trim)
}

/// The reason for a code.
fn reason(code: &str) -> Cow<'static, str> {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '_' };
    // A negative number differs from its positive counterpart.
    let code = code.strip_prefix('-').map_or_else(|| code.into(), |rest| format!("MINUS_{rest}"));
    let code: String = code.chars().map(plain).collect();
    format!("UPSTREAM_CODE_{}", code.trim_matches('_').to_ascii_uppercase()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_codes_become_reasons_and_unknown_ones_do_not() {
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
