//! Extracts the values of a recipe's placeholders from a request.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request};
use serde_json::Value;

use super::secs;
use crate::{
    provider::forward::{
        config::Config,
        recipe::{Body, FormEncoded, Recipe},
        template::{Placeholder, Template},
    },
    sandbox::request::{basic, form},
    token::claims::{Time, Value as Claim},
};

/// The resource of a recipe without a placeholder for one.
const ONLY: &str = "default";

/// The values of a recipe's placeholders in a request. It has no `Debug` since it holds secrets.
pub(super) struct Captured {
    found: Vec<(Placeholder, String)>,
    /// Whether the request has everything that the recipe has.
    pub(super) fits: bool,
}

/// How a request authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// It proves its identity.
    Good,
    /// It names the profile without proof.
    Named,
    /// It does not.
    None,
}

impl Captured {
    /// Parses a request; `None` if its path is not the recipe's.
    pub(super) fn of(config: &Config, request: &Request<Bytes>) -> Option<Self> {
        let recipe = &config.recipe;
        let mut captured = Self { found: Vec::new(), fits: true };
        for (place, text) in recipe.path.captured(request.uri().path())? {
            captured.found.push((place, percent_decoded(text)?));
        }
        if recipe.path.places().any(|place| place == Placeholder::Resource) {
            // The resource must be a valid name in one path segment.
            let resource = captured.found(Placeholder::Resource)?;
            if resource.is_empty() || request.uri().path().split('/').count() != segments(recipe) {
                return None;
            }
        }
        let query = request.uri().query().unwrap_or_default();
        let query: Vec<_> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        captured.take_pairs(&recipe.query, &query);
        captured.take_headers(recipe, request.headers());
        match &recipe.body {
            Body::Empty => {}
            Body::Form(pairs) => captured.take_pairs(pairs, &form(request)),
            Body::Json(json) => {
                let value: Value = serde_json::from_slice(request.body()).unwrap_or(Value::Null);
                let found = json.captured(&value);
                captured.fits &= found.is_some();
                captured.found.extend(found.unwrap_or_default());
            }
        }
        Some(captured)
    }

    fn take_headers(&mut self, recipe: &Recipe, headers: &HeaderMap) {
        for (name, template) in &recipe.headers {
            let text = headers.get(name).and_then(|value| value.to_str().ok());
            self.take(template, text);
        }
        let Some(own) = &recipe.basic else { return };
        let decoded = |text: String| match own.form_encoded {
            FormEncoded::No => text,
            FormEncoded::Yes => {
                let pair = format!("x={text}");
                form_urlencoded::parse(pair.as_bytes()).next().map_or(text, |(_, it)| it.into())
            }
        };
        match basic(headers) {
            Some((user, secret)) if decoded(user.clone()) == own.user => {
                self.found.push((Placeholder::Secret, decoded(secret)));
            }
            _ => self.fits = false,
        }
    }

    fn take_pairs(&mut self, own: &[(String, Template)], pairs: &[(String, String)]) {
        for (name, template) in own {
            let text = pairs.iter().find(|(its, _)| its == name).map(|(_, text)| text.as_str());
            if text.is_some() || !template.is_only(Placeholder::GrantTtl) {
                self.take(template, text);
            }
        }
    }

    fn take(&mut self, template: &Template, text: Option<&str>) {
        let found = text.and_then(|text| template.captured(text));
        self.fits &= found.is_some();
        let found = found.into_iter().flatten();
        self.found.extend(found.map(|(place, text)| (place, text.to_owned())));
    }

    /// The value of this placeholder.
    pub(super) fn found(&self, place: Placeholder) -> Option<&str> {
        self.found.iter().find(|(its, _)| *its == place).map(|(_, text)| text.as_str())
    }

    /// The requested resource.
    pub(super) fn resource(&self, config: &Config) -> String {
        let has_place = config.recipe.places().contains(&Placeholder::Resource);
        let found = self.found(Placeholder::Resource).filter(|_| has_place);
        found.unwrap_or(ONLY).to_owned()
    }

    /// How the request authenticates. An assertion's times are checked if `at` gives the current
    /// time and the longest time until its expiry.
    pub(super) fn proof(&self, config: &Config, at: Option<(i64, Duration)>) -> Proof {
        let mut proof = Proof::Good;
        for place in config.recipe.places().into_iter().filter(|place| place.is_secret()) {
            let Some(found) = self.found(place) else { return Proof::None };
            let own = match place {
                Placeholder::Assertion => is_asserted(config, found, at),
                _ => config.secret.as_ref().is_some_and(|secret| secret.expose() == found),
            };
            if !own {
                proof = Proof::Named;
            }
        }
        proof
    }
}

/// Whether an assertion is the profile's, with valid times.
fn is_asserted(config: &Config, found: &str, at: Option<(i64, Duration)>) -> bool {
    let Some(assertion) = &config.assertion else { return false };
    let Some(claims) = assertion.verified(found) else { return false };
    assertion.claims().claims().into_iter().all(|(path, claim)| {
        let Some(found) = path.iter().try_fold(&claims, |at, name| at.get(name)) else {
            return false;
        };
        let is_time = |holds: &dyn Fn(i64) -> bool| found.as_i64().is_some_and(holds);
        match (claim, at) {
            (Claim::Constant(value), _) => found == value,
            (Claim::Time(Time::Issue { .. }), Some((now, _))) => is_time(&|issued| issued <= now),
            (Claim::Time(Time::Expire), Some((now, most))) => {
                is_time(&|end| end > now && end - now <= secs(most))
            }
            _ => true,
        }
    })
}

/// The number of path segments, for any resource.
fn segments(recipe: &Recipe) -> usize {
    recipe.path.literals().map(|text| text.matches('/').count()).sum::<usize>() + 1
}

/// Decodes percent-encoding; `None` if it is malformed or not UTF-8.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = (digit(rest.next())?, digit(rest.next())?);
        bytes.push(u8::try_from(16 * high + low).ok()?);
    }
    String::from_utf8(bytes).ok()
}
