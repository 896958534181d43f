//! How the upstream of a preset is emulated: its credentials, its responses and refusals.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};

use super::{answer::CredentialAt, life::LifeAt, recipe::Recipe};
use crate::sandbox::Answer;

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
    pub(super) answer: fn(&Issued<'_>) -> (Answer, String),
    /// Builds a refusal.
    pub(super) refuse: fn(Refused) -> Answer,
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) why: RefusalReason,
}

/// The reason of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RefusalReason {
    /// The credential is wrong.
    Credential,
    /// The request is invalid, or a fault requires a refusal.
    Other,
}

impl Emulation {
    /// The defaults.
    pub(super) const DEFAULT: Self = Self {
        life: Duration::from_secs(60 * 60),
        max_life: Duration::from_secs(366 * 24 * 60 * 60),
        assertion_life: Duration::from_secs(60 * 60),
        renewed_before: None,
        wrong_credential: StatusCode::UNAUTHORIZED,
        answer: for_own_recipe,
        refuse: |refused| {
            let reason = refused.status.canonical_reason().unwrap_or("Error");
            Answer::json(refused.status, &json!({"error": reason}))
        },
    };
}

/// The issuer of the emulated upstreams' JWTs.
pub(super) const ISSUER: &str = "grantmint sandbox";

/// A credential to issue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Issued<'a> {
    /// Its unique name: 32 hexadecimal digits.
    pub(super) name: &'a str,
    /// The remaining seconds.
    pub(super) life: i64,
    /// When it expires, in Unix seconds.
    pub(super) end: i64,
    /// The recipe that it is for.
    pub(super) recipe: &'a Recipe,
}

impl Issued<'_> {
    /// A JWT with these claims, its issuer and its expiry. The signature is fake.
    pub(super) fn jwt(&self, claims: &Value) -> String {
        let mut claims = claims.clone();
        if let Value::Object(claims) = &mut claims {
            claims.insert("iss".to_owned(), ISSUER.into());
            claims.insert("exp".to_owned(), self.end.into());
            claims.insert("jti".to_owned(), self.name.into());
        }
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let header = r#"{"alg":"HS256","typ":"JWT"}"#;
        format!("{}.{}.{}", part(header), part(&claims.to_string()), part(self.name))
    }

    /// A password derived from the name.
    pub(super) fn password(&self) -> String {
        self.name.chars().rev().collect()
    }

    /// When it expires.
    pub(super) fn rfc3339(&self) -> String {
        let end = UNIX_EPOCH + Duration::from_secs(self.end.try_into().unwrap_or(0));
        humantime::format_rfc3339_seconds(end).to_string()
    }

    /// The response without its credential.
    pub(super) fn without_credential(&self, mut answer: Answer) -> Answer {
        let CredentialAt::Json(pointer) = &self.recipe.credential else {
            answer.body = "".into();
            return answer;
        };
        let mut whole = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
        pointer.put(&mut whole, Value::Null);
        answer.body = whole.to_string().into();
        answer
    }
}

/// A response that a profile's own recipe can read.
fn for_own_recipe(issued: &Issued<'_>) -> (Answer, String) {
    let recipe = issued.recipe;
    let token = match recipe.life.at {
        LifeAt::Jwt => issued.jwt(&json!({})),
        _ => issued.name.to_owned(),
    };
    let CredentialAt::Json(pointer) = &recipe.credential else {
        return (Answer::new(StatusCode::OK, "text/plain", token.clone()), token);
    };
    let mut whole = json!({});
    pointer.put(&mut whole, token.clone().into());
    match &recipe.life.at {
        LifeAt::Seconds(pointer) => pointer.put(&mut whole, issued.life.into()),
        LifeAt::Until(pointer) => pointer.put(&mut whole, issued.rfc3339().into()),
        _ => {}
    }
    if let Some(codes) = &recipe.errors.codes {
        codes.pointer.put(&mut whole, 0.into());
    }
    (Answer::json(StatusCode::OK, &whole), token)
}
