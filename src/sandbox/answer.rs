//! Responses of emulated upstreams, and how faults change them.

use std::{fmt, mem};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{
    delivery::{Delivery, gzip},
    fault::BadBody,
};

/// The size of a huge body in bytes.
const HUGE: usize = 1024 * 1024;

/// A response of an emulated upstream. Its `Debug` omits the body, which may hold a grant.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers; those common to all responses of the endpoint are added later.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    pub(super) outcome: Outcome,
    pub(super) delivery: Delivery,
}

/// How a response is counted.
pub(super) enum Outcome {
    /// A grant, with its credential (a secret).
    Granted(String),
    /// A refusal.
    Refused(StatusCode),
    /// Neither.
    Other,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Answer {
    /// A response with a body of this type. It counts as a refusal from status 300 on.
    #[must_use]
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let outcome = if status.as_u16() < 300 { Outcome::Other } else { Outcome::Refused(status) };
        Self { status, headers, body: body.into(), outcome, delivery: Delivery::Whole }
    }

    /// The same with a JSON body.
    #[must_use]
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self::new(status, "application/json", json(body))
    }

    /// The same as a proxy in front of an API responds: an HTML page, or a redirect to another
    /// host.
    #[must_use]
    pub fn page(status: StatusCode) -> Self {
        let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or("Error"));
        let body = format!("<html><head><title>{title}</title></head><body></body></html>");
        let mut answer = Self::new(status, "text/html", body);
        if status.is_redirection() {
            let elsewhere = HeaderValue::from_static("https://elsewhere.example/");
            answer.headers.insert(header::LOCATION, elsewhere);
        }
        answer
    }

    /// Counts the response as a grant; `credential` is what the client receives.
    #[must_use]
    pub fn granting(self, credential: impl Into<String>) -> Self {
        Self { outcome: Outcome::Granted(credential.into()), ..self }
    }

    /// Counts the response as a refusal with `status`, for upstreams that refuse under another
    /// status.
    #[must_use]
    pub fn refusing(self, status: StatusCode) -> Self {
        Self { outcome: Outcome::Refused(status), ..self }
    }

    /// Replaces the body and adds Retry-After, as a status fault specifies.
    pub(super) fn overridden(self, retry_after: Option<HeaderValue>, body: Option<&str>) -> Self {
        let mut answer = self;
        if let Some(body) = body {
            answer.body = Bytes::copy_from_slice(body.as_bytes());
        }
        if let Some(retry_after) = retry_after {
            answer.headers.insert(header::RETRY_AFTER, retry_after);
        }
        answer
    }

    /// Corrupts a grant; the response no longer counts as one.
    pub(super) fn corrupted(mut self, bad: &BadBody) -> Self {
        self.outcome = Outcome::Other;
        match bad {
            // The endpoint has already written it.
            BadBody::Own(_) => {}
            BadBody::Truncated => self.body.truncate(self.body.len() / 2),
            BadBody::Huge => {
                let mut body = Vec::from(mem::take(&mut self.body));
                body.resize(HUGE, b' ');
                self.body = body.into();
            }
            BadBody::Gzip => {
                self.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                self.body = gzip(&self.body).into();
            }
            BadBody::Endless => self.delivery = Delivery::Endless,
            BadBody::Slow | BadBody::Cut => {
                self.headers.insert(header::CONTENT_LENGTH, self.body.len().into());
                let slow = *bad == BadBody::Slow;
                self.delivery = if slow { Delivery::Slow } else { Delivery::Cut };
            }
            BadBody::Text(text) => self.body = text.clone().into(),
        }
        self
    }
}

/// Serializes a value with string keys and infallible members, which cannot fail.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
