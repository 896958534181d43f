//! Emulates a recipe's endpoint. It accepts the requests that the recipe makes. It responds as the
//! preset's upstream does, or as the recipe expects.

mod captured;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode};

use self::captured::{Captured, Proof};
use super::{
    config::Config,
    emulation::{Emulation, Issued, RefusalReason, Refused},
    template::Placeholder,
};
use crate::sandbox::{
    Answer, AnswerContext, Credential, Endpoint, Flaw, HeaderContext, Recognized,
};

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
    last: Mutex<HashMap<String, LastIssued>>,
}

/// The latest credential of a resource. It is not secret: the sandbox's credentials have no use.
#[derive(Clone, Debug)]
struct LastIssued {
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
        self.config.preset.map_or(&Emulation::DEFAULT, |preset| &preset.emulation)
    }

    /// Checks a request and returns what it is for.
    fn check<'m>(
        &self,
        request: &Request<Bytes>,
        context: &AnswerContext<'m>,
    ) -> Result<Target<'m>, Refused> {
        let recipe = &self.config.recipe;
        let other = |status| Refused { status, why: RefusalReason::Other };
        let captured =
            Captured::of(&self.config, request).ok_or_else(|| other(StatusCode::NOT_FOUND))?;
        if *request.method() != recipe.method {
            return Err(other(StatusCode::METHOD_NOT_ALLOWED));
        }
        let emulation = self.emulation();
        let now = context.now.unix_seconds();
        if captured.proof(&self.config, Some((now, emulation.assertion_life))) != Proof::Good {
            return Err(Refused {
                status: emulation.wrong_credential,
                why: RefusalReason::Credential,
            });
        }
        if !captured.fits {
            return Err(other(StatusCode::BAD_REQUEST));
        }
        let resource = captured.resource(&self.config);
        let parsed = self.config.preset.map(|preset| (preset.parse_resource)(&resource));
        if parsed.is_some_and(|parsed| parsed.is_err()) {
            return Err(other(StatusCode::NOT_FOUND));
        }
        let life = match captured.found(Placeholder::GrantTtl) {
            Some(text) => {
                let life =
                    text.parse().ok().filter(|life| (1..=secs(emulation.max_life)).contains(life));
                life.ok_or_else(|| other(StatusCode::BAD_REQUEST))?
            }
            None => secs(self.config.default_life(emulation)),
        };
        Ok(Target { resource, life, flaw: context.flaw })
    }

    /// The name and expiry of the next credential.
    fn next(&self, target: &Target<'_>, context: &mut AnswerContext<'_>) -> LastIssued {
        let now = context.now.unix_seconds();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.get(&target.resource).filter(|last| last.end > now);
        let renewed = self.emulation().renewed_before.map_or(i64::MAX, secs);
        let again = target.flaw == Flaw::Body(SAME_CREDENTIAL);
        if let Some(before) = before.filter(|last| again || last.end - now > renewed) {
            return before.clone();
        }
        let life = match target.flaw {
            Flaw::ShorterLife(by) => target.life.saturating_sub(secs(by)).max(0),
            Flaw::Body(LIFE_ZERO) => 0,
            _ => target.life,
        };
        let next = LastIssued { name: context.random.hex(), end: now.saturating_add(life) };
        last.insert(target.resource.clone(), next.clone());
        next
    }
}

/// What a request is for.
struct Target<'m> {
    resource: String,
    /// Seconds.
    life: i64,
    flaw: Flaw<'m>,
}

impl Endpoint for Emulated {
    fn bodies(&self) -> &'static [&'static str] {
        &BODIES
    }

    fn recognize(&self, request: &Request<Bytes>) -> Recognized {
        let Some(captured) = Captured::of(&self.config, request) else {
            return Recognized::default();
        };
        let requests_life = *request.method() == self.config.recipe.method;
        Recognized {
            path: true,
            credential: match captured.proof(&self.config, None) {
                Proof::Good => Credential::Proven,
                Proof::Named => Credential::Named,
                Proof::None => Credential::Foreign,
            },
            resource: requests_life.then(|| captured.resource(&self.config)),
            notes: vec![("ttl", captured.found(Placeholder::GrantTtl).map(str::to_owned))],
        }
    }

    fn answer(&self, request: &Request<Bytes>, context: &mut AnswerContext<'_>) -> Answer {
        let target = match self.check(request, context) {
            Ok(target) => target,
            Err(refused) => return (self.emulation().refuse)(refused),
        };
        let LastIssued { name, end } = self.next(&target, context);
        let life = end - context.now.unix_seconds();
        let issued = Issued { name: &name, life, end, recipe: &self.config.recipe };
        let (answer, credential) = (self.emulation().answer)(&issued);
        let answer = match target.flaw {
            Flaw::Body(HTML) => {
                Answer::new(StatusCode::OK, "text/html", "<html><body>Sign in</body></html>")
            }
            Flaw::Body(CREDENTIAL_MISSING) => issued.without_credential(answer),
            _ => answer,
        };
        answer.granting(credential)
    }

    fn refusal(&self, _: &Request<Bytes>, status: StatusCode) -> Answer {
        let mut answer = (self.emulation().refuse)(Refused { status, why: RefusalReason::Other });
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
