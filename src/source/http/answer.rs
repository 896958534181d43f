//! What an upstream answered, whatever its status, and what that means where a source knows
//! no better: the class by status.

use std::{borrow::Cow, fmt, time::Duration};

use bytes::{Buf, BufMut};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use zeroize::Zeroizing;

use crate::{
    clock::WallTime,
    grant::{Fault, FaultClass},
    source::{FetchError, skew::http_date},
};

/// The longest body that is read.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// An answer of any status. Its `Debug` shows nothing else.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// When its head was here, for times that count from then.
    pub(super) at: WallTime,
    pub(super) body: Result<Zeroizing<Vec<u8>>, Fault>,
}

impl Answer {
    /// The body, whole: at most 64 KiB, in no encoding. It is zeroed with the answer.
    ///
    /// # Errors
    ///
    /// A transient fault where it could not be read: `ANSWER_TOO_LARGE`, `ENCODED_ANSWER`,
    /// `MALFORMED_ANSWER` for two lengths, `CONNECTION_LOST` or `TIMEOUT`. What the status and
    /// the headers say holds all the same.
    pub fn body(&self) -> Result<&[u8], Fault> {
        self.body.as_ref().map(|body| body.as_slice()).map_err(Fault::clone)
    }

    /// How long the upstream asks to wait, from the answer on; none where it does not say.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.headers.get(header::RETRY_AFTER).and_then(|value| retry_after(value, self.at))
    }

    /// What the status alone means; the default of a source that has no other rules.
    ///
    /// # Errors
    ///
    /// Any status but 2xx, as [`Self::refused_as`] tells it. Misconfigured: a redirect, which
    /// is never followed. Throttled: 429, and 403 and 503 with a time to wait. Credential: 401
    /// and the other 403. Transient: 408 and all that is no other. Resource: the other 4xx.
    pub fn by_status(&self) -> Result<(), FetchError> {
        let class = match self.status.as_u16() {
            200..=299 => return Ok(()),
            300..=399 => FaultClass::Misconfigured,
            429 => FaultClass::Throttled,
            // Of a credential that is refused for good nobody says when to come back.
            403 | 503 if self.retry_after().is_some() => FaultClass::Throttled,
            401 | 403 => FaultClass::Credential,
            408 => FaultClass::Transient,
            400..=499 => FaultClass::Resource,
            _ => FaultClass::Transient,
        };
        Err(self.refused_as(class))
    }

    /// The failure that this answer is, of a class that the source knows: `HTTP_STATUS_` and
    /// the status. Where it is throttled, with the time to wait that the upstream asks for.
    #[must_use]
    pub fn refused_as(&self, class: FaultClass) -> FetchError {
        let fault = Fault {
            class,
            reason: Cow::Owned(format!("HTTP_STATUS_{}", self.status.as_u16())),
            not_found: matches!(self.status, StatusCode::NOT_FOUND | StatusCode::GONE),
        };
        let retry_after = self.retry_after().filter(|_| class == FaultClass::Throttled);
        FetchError::Failed { fault, retry_after }
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

/// Reads a body to its end.
pub(super) async fn read_body(
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    // Two lengths are how one answer becomes two.
    if headers.contains_key(header::TRANSFER_ENCODING)
        && headers.contains_key(header::CONTENT_LENGTH)
    {
        return Err(Fault::new(FaultClass::Transient, "MALFORMED_ANSWER"));
    }
    if is_encoded(headers) {
        return Err(Fault::new(FaultClass::Transient, "ENCODED_ANSWER"));
    }
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| {
        let reason = if error.is::<http_body_util::LengthLimitError>() {
            "ANSWER_TOO_LARGE"
        } else {
            "CONNECTION_LOST"
        };
        Fault::new(FaultClass::Transient, reason)
    })?;
    let body = body.aggregate();
    // Room for all, so that nothing is left behind by growing.
    let mut whole = Zeroizing::new(Vec::with_capacity(body.remaining()));
    whole.put(body);
    Ok(whole)
}

/// Whether the body is something else than what was meant to be sent.
fn is_encoded(headers: &HeaderMap) -> bool {
    let none: [(_, &[&str]); 2] = [
        (header::CONTENT_ENCODING, &["", "identity"]),
        (header::TRANSFER_ENCODING, &["", "identity", "chunked"]),
    ];
    none.into_iter().any(|(name, none)| {
        let values = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        let mut codings = values.flat_map(|value| value.split(|byte| *byte == b','));
        codings.any(|coding| {
            let coding = coding.trim_ascii();
            !none.iter().any(|none| coding.eq_ignore_ascii_case(none.as_bytes()))
        })
    })
}

/// A Retry-After value as time from `now`: whole seconds or an HTTP date; anything else
/// counts as absent.
pub fn retry_after(value: &HeaderValue, now: WallTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    Some(http_date(value)?.since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            at: WallTime::from_unix_seconds(784_111_777),
            body: Ok(Zeroizing::new(b"zqmarkerqz".to_vec())),
        }
    }

    fn failed(error: FetchError) -> (FaultClass, String, bool, Option<Duration>) {
        let FetchError::Failed { fault, retry_after } = error else { panic!("{error:?}") };
        (fault.class, fault.reason.into_owned(), fault.not_found, retry_after)
    }

    #[test]
    fn a_source_may_know_better_than_the_status() {
        let date = ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT");
        let answer = answer(400, &[date, ("x-amzn-errortype", "zqmarkerqz")]);
        let (class, reason, _, after) = failed(answer.by_status().unwrap_err());
        assert_eq!((class, &*reason, after), (FaultClass::Resource, "HTTP_STATUS_400", None));

        let ten = Some(Duration::from_secs(10));
        assert_eq!(answer.retry_after(), ten, "from the answer on");
        let (class, reason, _, after) = failed(answer.refused_as(FaultClass::Throttled));
        assert_eq!((class, &*reason, after), (FaultClass::Throttled, "HTTP_STATUS_400", ten));
        assert!(!format!("{answer:?}").contains("zqmarkerqz"), "{answer:?}");
    }

    #[test]
    fn a_forbidden_answer_with_a_time_to_wait_asks_for_less_and_is_no_refusal() {
        let wait = ("retry-after", "7");
        for (status, class) in [(403, FaultClass::Throttled), (401, FaultClass::Credential)] {
            let told = failed(answer(status, &[wait]).by_status().unwrap_err());
            let after = (class == FaultClass::Throttled).then_some(Duration::from_secs(7));
            assert_eq!((told.0, told.3), (class, after), "{status}");
        }
        for unreadable in ["soon", "-1", ""] {
            let told = failed(answer(403, &[("retry-after", unreadable)]).by_status().unwrap_err());
            assert_eq!((told.0, told.3), (FaultClass::Credential, None), "{unreadable}");
        }
    }

    #[test]
    fn what_does_not_exist_is_told_by_its_status_whatever_its_class() {
        for (status, not_found) in [(404, true), (410, true), (400, false), (503, false)] {
            let told = failed(answer(status, &[]).refused_as(FaultClass::Transient));
            assert_eq!(told.2, not_found, "{status}");
        }
        assert!(answer(204, &[("retry-after", "7")]).by_status().is_ok());
    }
}
