//! Credentials of emulated endpoints.

use std::time::{Duration, UNIX_EPOCH};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    provider::forward::{answer::CredentialAt, config::Config, life::LifeAt},
    sandbox::Answer,
};

/// A credential to issue.
#[derive(Clone, Copy, Debug)]
pub(in crate::provider::forward) struct Issued<'a> {
    /// Its unique name: 32 hexadecimal digits.
    pub(in crate::provider::forward) name: &'a str,
    /// The remaining seconds.
    pub(in crate::provider::forward) life: i64,
    /// When it expires, in Unix seconds.
    pub(in crate::provider::forward) end: i64,
    /// The profile that it is for.
    pub(super) config: &'a Config,
}

impl Issued<'_> {
    /// A JWT with these claims and its expiry. The signature is fake.
    pub(in crate::provider::forward) fn jwt(&self, claims: &Value) -> String {
        let mut claims = claims.clone();
        if let Value::Object(claims) = &mut claims {
            claims.insert("exp".to_owned(), self.end.into());
            claims.insert("jti".to_owned(), self.name.into());
        }
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        let header = r#"{"alg":"HS256","typ":"JWT"}"#;
        format!("{}.{}.{}", part(header), part(&claims.to_string()), part(self.name))
    }

    /// A password derived from the name.
    pub(in crate::provider::forward) fn password(&self) -> String {
        self.name.chars().rev().collect()
    }

    /// When it expires.
    pub(in crate::provider::forward) fn rfc3339(&self) -> String {
        let end = UNIX_EPOCH + Duration::from_secs(self.end.try_into().unwrap_or(0));
        humantime::format_rfc3339_seconds(end).to_string()
    }

    /// The response without its credential.
    pub(super) fn without_credential(&self, mut answer: Answer) -> Answer {
        let CredentialAt::Json(pointer) = &self.config.recipe.credential else {
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
pub(super) fn for_own_recipe(issued: &Issued<'_>) -> (Answer, String) {
    let recipe = &issued.config.recipe;
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
