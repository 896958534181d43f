//! An upstream's response of any status, and its default classification by status.

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

/// A response of any status. Its `Debug` output shows only the status.
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// When its head was received. Relative times count from then.
    pub(super) at: WallTime,
    pub(super) body: Result<Zeroizing<Vec<u8>>, Fault>,
}

impl Answer {
    /// The whole body: up to 64 KiB, without an encoding. It is zeroed on drop.
    ///
    /// # Errors
    ///
    /// A transient fault if it could not be read: `ANSWER_TOO_LARGE`, `ENCODED_ANSWER`,
    /// `MALFORMED_ANSWER` for two lengths, `CONNECTION_LOST` or `TIMEOUT`. The status and the
    /// headers remain valid.
    pub fn body(&self) -> Result<&[u8], Fault> {
        self.body.as_ref().map(|body| body.as_slice()).map_err(Fault::clone)
    }

    /// The wait that the upstream requests, from the response on; none if it requests none.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.headers.get(header::RETRY_AFTER).and_then(|value| retry_after(value, self.at))
    }

    /// Classifies the response by its status; the default of a source without other rules.
    ///
    /// # Errors
    ///
    /// Any status except 2xx, as [`Self::refused_as`] returns it. Misconfigured: a redirect, which
    /// is never followed. Throttled: 429, and 403 and 503 with a Retry-After. Credential: 401
    /// and any other 403. Resource: any other 4xx except 408. Transient: 408 and everything else.
    pub fn by_status(&self) -> Result<(), FetchError> {
        let class = match self.status.as_u16() {
            200..=299 => return Ok(()),
            300..=399 => FaultClass::Misconfigured,
            429 => FaultClass::Throttled,
            // A permanently refused credential comes without a Retry-After.
            403 | 503 if self.retry_after().is_some() => FaultClass::Throttled,
            401 | 403 => FaultClass::Credential,
            408 => FaultClass::Transient,
            400..=499 => FaultClass::Resource,
            _ => FaultClass::Transient,
        };
        Err(self.refused_as(class))
    }

    /// This response as a failure of the given class: `HTTP_STATUS_` and the status. If throttled,
    /// with the wait that the upstream requests.
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
    // Two lengths allow one response to be read as two.
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
    // Preallocated: reallocation would leave secret bytes behind.
    let mut whole = Zeroizing::new(Vec::with_capacity(body.remaining()));
    whole.put(body);
    Ok(whole)
}

/// Whether the body has an encoding that this client does not decode.
fn is_encoded(headers: &HeaderMap) -> bool {
    let allowed: [(_, &[&str]); 2] = [
        (header::CONTENT_ENCODING, &["", "identity"]),
        (header::TRANSFER_ENCODING, &["", "identity", "chunked"]),
    ];
    allowed.into_iter().any(|(name, allowed)| {
        let values = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        let mut codings = values.flat_map(|value| value.split(|byte| *byte == b','));
        codings.any(|coding| {
            let coding = coding.trim_ascii();
            !allowed.iter().any(|allowed| coding.eq_ignore_ascii_case(allowed.as_bytes()))
        })
    })
}

/// A Retry-After value as the time from `now`: whole seconds or an HTTP date. Any other value
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
    fn source_may_override_the_class_by_status() {
        let date = ("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT");
        let answer = answer(400, &[date, ("x-amzn-errortype", "zqmarkerqz")]);
        let (class, reason, _, after) = failed(answer.by_status().unwrap_err());
        assert_eq!((class, &*reason, after), (FaultClass::Resource, "HTTP_STATUS_400", None));

        let ten = Some(Duration::from_secs(10));
        assert_eq!(answer.retry_after(), ten, "from the response on");
        let (class, reason, _, after) = failed(answer.refused_as(FaultClass::Throttled));
        assert_eq!((class, &*reason, after), (FaultClass::Throttled, "HTTP_STATUS_400", ten));
        assert!(!format!("{answer:?}").contains("zqmarkerqz"), "{answer:?}");
    }

    #[test]
    fn forbidden_with_retry_after_is_throttled() {
        let wait = ("retry-after", "7");
        for (status, class) in [(403, FaultClass::Throttled), (401, FaultClass::Credential)] {
            let failure = failed(answer(status, &[wait]).by_status().unwrap_err());
            let after = (class == FaultClass::Throttled).then_some(Duration::from_secs(7));
            assert_eq!((failure.0, failure.3), (class, after), "{status}");
        }
        for unreadable in ["soon", "-1", ""] {
            let failure =
                failed(answer(403, &[("retry-after", unreadable)]).by_status().unwrap_err());
            assert_eq!((failure.0, failure.3), (FaultClass::Credential, None), "{unreadable}");
        }
    }

    #[test]
    fn not_found_follows_from_the_status() {
        for (status, not_found) in [(404, true), (410, true), (400, false), (503, false)] {
            let failure = failed(answer(status, &[]).refused_as(FaultClass::Transient));
            assert_eq!(failure.2, not_found, "{status}");
        }
        assert!(answer(204, &[("retry-after", "7")]).by_status().is_ok());
    }
}
