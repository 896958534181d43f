//! What a sandbox answers with, and what faults make of it.

use std::{fmt, mem};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{
    delivery::{Delivery, gzip},
    fault::BadBody,
};

/// The bytes of a huge body.
const HUGE: usize = 1024 * 1024;

/// An answer of an emulated upstream. Its `Debug` shows no body: there may be a grant in it.
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers; those of all answers are added later.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    pub(super) outcome: Outcome,
    pub(super) delivery: Delivery,
}

/// What an answer is counted as.
pub(super) enum Outcome {
    /// A grant: its credential, a secret.
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
    /// A body of this type. With a status from 300 on it is counted as a refusal by that
    /// status.
    #[must_use]
    pub fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        let outcome = if status.as_u16() < 300 { Outcome::Other } else { Outcome::Refused(status) };
        Self { status, headers, body: body.into(), outcome, delivery: Delivery::Whole }
    }

    /// A JSON body, counted likewise.
    #[must_use]
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        Self::new(status, "application/json", json(body))
    }

    /// What something before an API answers, counted likewise: a page of HTML, or a redirect
    /// to elsewhere.
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

    /// The same, counted as a grant; `credential` is what the client was given.
    #[must_use]
    pub fn granting(self, credential: impl Into<String>) -> Self {
        Self { outcome: Outcome::Granted(credential.into()), ..self }
    }

    /// The same, counted as a refusal by `status`: for upstreams that refuse under another one.
    #[must_use]
    pub fn refusing(self, status: StatusCode) -> Self {
        Self { outcome: Outcome::Refused(status), ..self }
    }

    /// The same with what a fault of status says.
    pub(super) fn with(self, retry_after: Option<HeaderValue>, body: Option<&str>) -> Self {
        let mut answer = self;
        if let Some(body) = body {
            answer.body = Bytes::copy_from_slice(body.as_bytes());
        }
        if let Some(retry_after) = retry_after {
            answer.headers.insert(header::RETRY_AFTER, retry_after);
        }
        answer
    }

    /// What a fault makes of a grant: none that is counted as one.
    pub(super) fn spoilt(mut self, bad: &BadBody) -> Self {
        self.outcome = Outcome::Other;
        match bad {
            // It is in the body already.
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

/// What is serialised here has text keys and no failing parts: it always is JSON.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
