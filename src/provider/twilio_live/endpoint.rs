//! The `PlaybackGrant` endpoint as emulated by the sandbox: `POST
//! /v1/PlayerStreamers/{Sid}/PlaybackGrant`.
//!
//! It follows the published description of the API. It checks credential, path, method and form in
//! this order, and refuses with the documented bodies.

mod grant;
mod refusal;
#[cfg(test)]
mod tests;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};

use self::{grant::Granted, refusal::Refusal};
use super::{config::Config, wire};
use crate::{
    provider::twilio::ids::{AccountSid, ApiKeySecret, ApiKeySid, PlayerStreamerSid},
    sandbox::{
        Answer, AnswerContext, Credential, Endpoint, Flaw, HeaderContext, Recognized,
        request::{basic, form},
    },
};

/// The default life of a grant, in seconds (`twilio_media_v1.json`).
const DEFAULT_TTL: u64 = 15;

/// The longest life that can be requested, in seconds (`twilio_media_v1.json`).
const MAX_TTL: u64 = 60;

/// The endpoint of an account, for one of its API keys.
#[derive(Clone, Debug)]
pub(super) struct PlaybackGrantEndpoint {
    pub(super) account: AccountSid,
    pub(super) key: ApiKeySid,
    pub(super) secret: ApiKeySecret,
}

/// A request's form, as sent.
#[derive(Default)]
struct Form {
    ttl: Option<String>,
    allow_origin: Option<String>,
}

impl PlaybackGrantEndpoint {
    /// The endpoint of `config`'s account, for its key.
    pub(super) fn new(config: &Config) -> Self {
        Self {
            account: config.account_sid.clone(),
            key: config.api_key_sid.clone(),
            secret: config.api_key_secret.clone(),
        }
    }
}

impl Endpoint for PlaybackGrantEndpoint {
    fn bodies(&self) -> &'static [&'static str] {
        &grant::BODIES
    }

    fn recognize(&self, request: &Request<Bytes>) -> Recognized {
        let resource = resource_in(request.uri().path());
        let Form { ttl, allow_origin } = Form::of(request);
        Recognized {
            path: resource.is_some(),
            credential: self.credential(request.headers()),
            resource: resource.filter(|_| request.method() == Method::POST).map(str::to_owned),
            notes: vec![("ttl", ttl), ("allow_origin", allow_origin)],
        }
    }

    fn answer(&self, request: &Request<Bytes>, context: &mut AnswerContext<'_>) -> Answer {
        match self.check(request, context) {
            Ok(granted) => granted.answer(context),
            Err(refusal) => refusal.answer(request.uri().path()),
        }
    }

    fn refusal(&self, request: &Request<Bytes>, status: StatusCode) -> Answer {
        Refusal::from(status).answer(request.uri().path())
    }

    fn add_headers(&self, headers: &mut HeaderMap, context: &mut HeaderContext<'_>) {
        for (name, text) in [
            ("twilio-concurrent-requests", context.in_flight.to_string()),
            ("twilio-request-id", format!("RQ{}", context.random.hex())),
            ("twilio-request-duration", format!("{:.3}", context.held.as_secs_f64())),
        ] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
    }
}

impl PlaybackGrantEndpoint {
    fn credential(&self, headers: &HeaderMap) -> Credential {
        match basic(headers) {
            Some((user, secret)) if user == self.key.as_str() => {
                let proven = secret == self.secret.expose();
                if proven { Credential::Proven } else { Credential::Named }
            }
            _ => Credential::Foreign,
        }
    }

    /// Checks a request and returns the grant to issue.
    fn check(
        &self,
        request: &Request<Bytes>,
        context: &AnswerContext<'_>,
    ) -> Result<Granted, Refusal> {
        let path = request.uri().path();
        match self.credential(request.headers()) {
            Credential::Proven => {}
            Credential::Foreign if basic(request.headers()).is_some() => {
                return Err(Refusal::UNKNOWN_USER);
            }
            _ => return Err(StatusCode::UNAUTHORIZED.into()),
        }
        let streamer = resource_in(path)
            .and_then(|sid| PlayerStreamerSid::parse(sid).ok())
            .ok_or(StatusCode::NOT_FOUND)?;
        if request.method() != Method::POST {
            return Err(StatusCode::METHOD_NOT_ALLOWED.into());
        }
        let form = Form::of(request);
        let ttl = form.ttl.map_or(Some(DEFAULT_TTL), |text| text.parse().ok());
        let ttl = ttl.filter(|ttl| (1..=MAX_TTL).contains(ttl)).ok_or(Refusal::BAD_TTL)?;
        let life = Duration::from_secs(ttl);
        Ok(Granted {
            url: format!("{}{path}", context.base),
            account: self.account.clone(),
            streamer,
            allow_origin: form.allow_origin.filter(|origin| !origin.is_empty()),
            life: match context.flaw {
                Flaw::ShorterLife(by) => life.saturating_sub(by),
                _ => life,
            },
        })
    }
}

impl Form {
    /// Parses the form in a request's body.
    fn of(request: &Request<Bytes>) -> Self {
        let mut read = Self::default();
        for (name, value) in form(request) {
            match name.as_str() {
                wire::TTL => read.ttl = Some(value),
                wire::ALLOW_ORIGIN => read.allow_origin = Some(value),
                _ => {}
            }
        }
        read
    }
}

/// The resource in a grant's path, well-formed or not.
fn resource_in(path: &str) -> Option<&str> {
    let resource = path.split('/').nth(3)?;
    (wire::path(resource) == path).then_some(resource)
}
