//! Emulates a recipe's endpoint. It accepts the requests that the recipe makes. It responds as the
//! preset's upstream does, or as the recipe expects.

mod given;
mod seen;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use serde_json::json;

pub(super) use self::given::Given;
use self::seen::{Proof, Seen};
use super::{config::Config, template::Place};
use crate::sandbox::{
    Answer, AnswerContext, Credential, Endpoint, Flaw, HeaderContext, Recognised,
};

/// The properties of a preset's upstream.
pub(super) struct Emulation {
    /// The default life of a credential.
    pub(super) life: Duration,
    /// The longest life that can be requested.
    pub(super) max_life: Duration,
    /// How far in the future an assertion's expiry may be.
    pub(super) assertion_life: Duration,
    /// How long before its expiry a credential is renewed; `None` means at every request.
    pub(super) renewed_before: Option<Duration>,
    /// The status for a wrong credential.
    pub(super) wrong_credential: StatusCode,
    /// Builds the response with a credential; returns both.
    pub(super) answer: fn(&Given<'_>) -> (Answer, String),
    /// Builds a refusal.
    pub(super) refuse: fn(Refused) -> Answer,
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) why: Why,
}

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The credential is wrong.
    Credential,
    /// The request is invalid, or a fault requires a refusal.
    Other,
}

impl Emulation {
    /// The defaults.
    pub(super) const USUAL: Self = Self {
        life: Duration::from_secs(60 * 60),
        max_life: Duration::from_secs(366 * 24 * 60 * 60),
        assertion_life: Duration::from_secs(60 * 60),
        renewed_before: None,
        wrong_credential: StatusCode::UNAUTHORIZED,
        answer: given::of_no_preset,
        refuse: |refused| {
            let reason = refused.status.canonical_reason().unwrap_or("Error");
            Answer::json(refused.status, &json!({"error": reason}))
        },
    };
}

/// The fault bodies specific to these credentials.
const BODIES: [&str; 4] = [CREDENTIAL_MISSING, HTML, LIFE_ZERO, SAME_CREDENTIAL];

/// The credential is missing.
const CREDENTIAL_MISSING: &str = "credential-missing";

/// An HTML page with status 200.
const HTML: &str = "html";

/// A life of zero seconds, if the response states one.
const LIFE_ZERO: &str = "life-zero";

/// The previous credential for the resource, with its remaining life.
const SAME_CREDENTIAL: &str = "same-credential";

/// How long until an exhausted rate limit is reset.
const RATE_WINDOW: Duration = Duration::from_secs(60);

/// The endpoint of a profile.
#[derive(Debug)]
pub(super) struct Emulated {
    config: Arc<Config>,
    last: Mutex<HashMap<String, Last>>,
}

/// The latest credential of a resource. It is not secret: the sandbox's credentials have no use.
#[derive(Clone, Debug)]
struct Last {
    name: String,
    /// Unix seconds.
    end: i64,
}

impl Emulated {
    /// The endpoint that accepts this profile's credential.
    pub(super) fn new(config: Arc<Config>) -> Self {
        Self { config, last: Mutex::default() }
    }

    fn emulation(&self) -> &'static Emulation {
        self.config.preset.map_or(&Emulation::USUAL, |preset| &preset.emulation)
    }

    /// Checks a request and returns what it is for.
    fn check<'m>(
        &self,
        request: &Request<Bytes>,
        context: &AnswerContext<'m>,
    ) -> Result<Asked<'m>, Refused> {
        let recipe = &self.config.recipe;
        let other = |status| Refused { status, why: Why::Other };
        let seen = Seen::of(&self.config, request).ok_or_else(|| other(StatusCode::NOT_FOUND))?;
        if *request.method() != recipe.method {
            return Err(other(StatusCode::METHOD_NOT_ALLOWED));
        }
        let emulation = self.emulation();
        let now = context.now.unix_seconds();
        if seen.proof(&self.config, Some((now, emulation.assertion_life))) != Proof::Good {
            return Err(Refused { status: emulation.wrong_credential, why: Why::Credential });
        }
        if !seen.fits {
            return Err(other(StatusCode::BAD_REQUEST));
        }
        let resource = seen.resource(&self.config);
        let parsed = self.config.preset.map(|preset| (preset.parse_resource)(&resource));
        if parsed.is_some_and(|parsed| parsed.is_err()) {
            return Err(other(StatusCode::NOT_FOUND));
        }
        let life = match seen.found(Place::GrantTtl) {
            Some(text) => {
                let life =
                    text.parse().ok().filter(|life| (1..=secs(emulation.max_life)).contains(life));
                life.ok_or_else(|| other(StatusCode::BAD_REQUEST))?
            }
            None => secs(self.config.usual_life(emulation)),
        };
        Ok(Asked { resource, life, flaw: context.flaw })
    }

    /// The name and expiry of the next credential.
    fn next(&self, asked: &Asked<'_>, context: &mut AnswerContext<'_>) -> Last {
        let now = context.now.unix_seconds();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.get(&asked.resource).filter(|last| last.end > now);
        let renewed = self.emulation().renewed_before.map_or(i64::MAX, secs);
        let again = asked.flaw == Flaw::Body(SAME_CREDENTIAL);
        if let Some(before) = before.filter(|last| again || last.end - now > renewed) {
            return before.clone();
        }
        let life = match asked.flaw {
            Flaw::ShorterLife(by) => asked.life.saturating_sub(secs(by)).max(0),
            Flaw::Body(LIFE_ZERO) => 0,
            _ => asked.life,
        };
        let next = Last { name: context.random.hex(), end: now.saturating_add(life) };
        last.insert(asked.resource.clone(), next.clone());
        next
    }
}

/// What a request is for.
struct Asked<'m> {
    resource: String,
    /// Seconds.
    life: i64,
    flaw: Flaw<'m>,
}

impl Endpoint for Emulated {
    fn bodies(&self) -> &'static [&'static str] {
        &BODIES
    }

    fn recognise(&self, request: &Request<Bytes>) -> Recognised {
        let Some(seen) = Seen::of(&self.config, request) else { return Recognised::default() };
        let asks = *request.method() == self.config.recipe.method;
        Recognised {
            path: true,
            credential: match seen.proof(&self.config, None) {
                Proof::Good => Credential::Proven,
                Proof::Named => Credential::Named,
                Proof::None => Credential::Foreign,
            },
            resource: asks.then(|| seen.resource(&self.config)),
            notes: vec![("ttl", seen.found(Place::GrantTtl).map(str::to_owned))],
        }
    }

    fn answer(&self, request: &Request<Bytes>, context: &mut AnswerContext<'_>) -> Answer {
        let asked = match self.check(request, context) {
            Ok(asked) => asked,
            Err(refused) => return (self.emulation().refuse)(refused),
        };
        let Last { name, end } = self.next(&asked, context);
        let life = end - context.now.unix_seconds();
        let given = Given { name: &name, life, end, config: &self.config };
        let (answer, credential) = (self.emulation().answer)(&given);
        let answer = match asked.flaw {
            Flaw::Body(HTML) => {
                Answer::new(StatusCode::OK, "text/html", "<html><body>Sign in</body></html>")
            }
            Flaw::Body(CREDENTIAL_MISSING) => given.without_credential(answer),
            _ => answer,
        };
        answer.granting(credential)
    }

    fn refusal(&self, _: &Request<Bytes>, status: StatusCode) -> Answer {
        let mut answer = (self.emulation().refuse)(Refused { status, why: Why::Other });
        let limit = self.config.recipe.errors.rate_limit;
        if let Some(limit) = limit.filter(|_| status == StatusCode::TOO_MANY_REQUESTS) {
            answer.headers.insert(limit.remaining, HeaderValue::from_static("0"));
        }
        answer
    }

    fn add_headers(&self, headers: &mut HeaderMap, context: &mut HeaderContext<'_>) {
        let limit = self.config.recipe.errors.rate_limit;
        if let Some(limit) = limit.filter(|limit| headers.contains_key(limit.remaining)) {
            let reset = context.now + RATE_WINDOW;
            headers.insert(limit.reset, reset.unix_seconds().into());
        }
    }
}

/// Whole seconds.
fn secs(duration: Duration) -> i64 {
    duration.as_secs().try_into().unwrap_or(i64::MAX)
}
