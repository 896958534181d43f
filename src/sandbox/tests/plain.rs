//! A minimal upstream: `POST /grants/{resource}` with a key as bearer credential and a `ttl` in the
//! form.

use http::{HeaderMap, HeaderValue};

use super::*;
use crate::sandbox::request::{authorization, form};

pub(super) const KEY: &str = "key-of-the-plain-upstream";
pub(super) const RESOURCE: &str = "VJ0123456789abcdef0123456789abcdef";

pub(super) fn path(resource: &str) -> String {
    format!("/grants/{resource}")
}

#[derive(Debug)]
pub(super) struct Plain {
    pub(super) key: &'static str,
}

impl Endpoint for Plain {
    fn bodies(&self) -> &'static [&'static str] {
        &["empty"]
    }

    fn recognize(&self, request: &http::Request<Bytes>) -> Recognized {
        let resource = request.uri().path().strip_prefix("/grants/");
        let mut form = form(request).into_iter();
        let ttl = form.find(|(name, _)| name == "ttl").map(|(_, value)| value);
        Recognized {
            path: resource.is_some(),
            credential: match authorization(request.headers(), "bearer") {
                Some(key) if key == self.key => Credential::Proven,
                Some(key) if key.starts_with(self.key) => Credential::Named,
                _ => Credential::Foreign,
            },
            resource: resource.map(str::to_owned),
            notes: vec![("ttl", ttl)],
        }
    }

    fn answer(&self, request: &http::Request<Bytes>, context: &mut AnswerContext<'_>) -> Answer {
        let recognized = self.recognize(request);
        if recognized.credential != Credential::Proven {
            return self.refusal(request, StatusCode::UNAUTHORIZED);
        }
        if !recognized.path {
            return self.refusal(request, StatusCode::NOT_FOUND);
        }
        let credential = format!("credential-{}", context.random.hex());
        let life = match context.flaw {
            Flaw::ShorterLife(by) => Duration::from_secs(60).saturating_sub(by),
            _ => Duration::from_secs(60),
        };
        let body = match context.flaw {
            Flaw::Body("empty") => json!({}),
            _ => json!({
                "url": format!("{}{}", context.base, request.uri().path()),
                "key": self.key,
                "credential": credential,
                "now": context.now.unix_seconds(),
                "life": life.as_secs(),
            }),
        };
        Answer::json(StatusCode::CREATED, &body).granting(credential)
    }

    fn refusal(&self, _request: &http::Request<Bytes>, status: StatusCode) -> Answer {
        match status.as_u16() {
            502 | 307 => Answer::page(status),
            code => Answer::json(status, &json!({"no": code})),
        }
    }

    fn add_headers(&self, headers: &mut HeaderMap, context: &mut HeaderContext<'_>) {
        headers.insert("in-flight", context.in_flight.into());
        headers.insert("key", HeaderValue::from_static(self.key));
    }
}
