//! The documented errors of the API.

use std::borrow::Cow;

use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::sandbox::Answer;

/// A refusal by status, with a message if it differs from the status's usual one.
#[derive(Clone, Copy)]
pub(super) struct Refusal {
    status: StatusCode,
    message: Option<&'static str>,
}

#[derive(Serialize)]
struct ErrorBody<'a> {
    code: u32,
    message: &'a str,
    more_info: String,
    status: u16,
}

impl From<StatusCode> for Refusal {
    fn from(status: StatusCode) -> Self {
        Self { status, message: None }
    }
}

impl Refusal {
    pub(super) const BAD_TTL: Self =
        Self { status: StatusCode::BAD_REQUEST, message: Some("Invalid Ttl") };
    pub(super) const UNKNOWN_USER: Self = Self {
        status: StatusCode::UNAUTHORIZED,
        message: Some("Authentication Error - invalid username"),
    };

    /// The documented response to a request for `path`, or a page if none is documented.
    pub(super) fn answer(self, path: &str) -> Answer {
        let status = self.status;
        let (code, message): (u32, Cow<'_, str>) = match status.as_u16() {
            400 => (20001, "Bad request".into()),
            401 => (20003, "Authenticate".into()),
            403 => (20403, "Forbidden".into()),
            404 => {
                let path = path.strip_prefix("/v1").unwrap_or(path);
                (20404, format!("The requested resource {path} was not found").into())
            }
            405 => (20004, "Method not allowed".into()),
            429 => (20429, "Too Many Requests".into()),
            500 => (20500, "An internal server error has occurred".into()),
            503 => (20503, "Service Unavailable".into()),
            _ => return Answer::page(status),
        };
        let message = self.message.unwrap_or(&message);
        let more_info = format!("https://www.twilio.com/docs/errors/{code}");
        let body = ErrorBody { code, message, more_info, status: status.as_u16() };
        let mut answer = Answer::json(status, &body);
        match status.as_u16() {
            401 => {
                let basic = HeaderValue::from_static("Basic realm=\"Twilio API\"");
                answer.headers.insert(header::WWW_AUTHENTICATE, basic);
            }
            405 => {
                answer.headers.insert(header::ALLOW, HeaderValue::from_static("POST"));
            }
            _ => {}
        }
        answer
    }
}
