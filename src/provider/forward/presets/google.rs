//! Google: access tokens of a service account.
//!
//! Source: Google's guide "Using OAuth 2.0 for Server to Server Applications".

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::StatusCode;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, json};
use zeroize::Zeroizing;

use super::{DemoKeys, Preset, RSA_KEY, build, escaped, parse_text, secret_keys};
use crate::{
    grant::FaultClass,
    provider::{
        LifeRules,
        forward::{
            assertion::{Assertion, table},
            emulation::{Emulation, Issued, RefusalReason, Refused},
            parts::{Covers, DEFAULT_REFRESH_AT, Parts, parse_resource},
            recipe::RecipeBuilder,
            secret,
        },
    },
    sandbox::Answer,
    settings::{SecretKeys, Section},
    token::{
        claims::{Time, Value as Claim},
        key::JwtKey,
    },
};

const SERVICE_ACCOUNT: SecretKeys =
    secret_keys("service_account_file", "service_account_env", "service_account");

/// Google accepts up to an hour.
const ASSERTION_LIFE: Duration = Duration::from_secs(30 * 60);

/// Backdating against clock skew, in seconds: an assertion from the future is refused.
const BACK: u32 = 30;

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

pub(super) static PRESET: Preset = Preset {
    name: "google",
    life: LifeRules::Reported,
    refresh_at: DEFAULT_REFRESH_AT,
    parse_resource,
    read,
    emulation: Emulation {
        life: Duration::from_secs(3_599),
        assertion_life: Duration::from_secs(60 * 60),
        wrong_credential: StatusCode::BAD_REQUEST,
        answer,
        refuse,
        ..Emulation::DEFAULT
    },
    demo: || DemoKeys {
        keys: vec![("scope", "https://www.googleapis.com/auth/cloud-platform".into())],
        secret: SERVICE_ACCOUNT,
        value: BASE64_STANDARD.encode(demo_account()),
        resources: Vec::new(),
    },
};

/// The members of a service-account file that are used.
#[derive(Deserialize)]
struct ServiceAccount {
    client_email: String,
    private_key: String,
    private_key_id: String,
    token_uri: String,
}

fn read(section: &mut Section<'_>) -> Option<Parts> {
    let scope = section.required("scope", parse_text);
    let account = section.secret(SERVICE_ACCOUNT, parse_account);
    let (scope, ((account, key), origin)) = (scope?, account?);
    let text = |text: &str| Claim::Constant(text.into());
    let claims = [
        ("iss", text(&account.client_email)),
        ("scope", text(&scope)),
        ("aud", text(&account.token_uri)),
        ("iat", Claim::Time(Time::Issue { back: BACK })),
        ("exp", Claim::Time(Time::Expire)),
    ];
    let header = Map::from_iter([("kid".to_owned(), account.private_key_id.into())]);
    let assertion = Assertion::new(table(Algorithm::RS256, header, claims), key, ASSERTION_LIFE);
    let assertion = assertion
        .map_err(|error| section.problem("preset", format!("its key cannot be used: {error}")))
        .ok()?;
    let builder = RecipeBuilder::post(&escaped(&account.token_uri))
        .form(&[("grant_type", GRANT_TYPE), ("assertion", "{assertion}")])
        .credential("/access_token")
        .seconds("/expires_in")
        // The key or the clock is wrong.
        .codes(
            "/error",
            &[
                ("invalid_grant", FaultClass::Credential),
                ("invalid_client", FaultClass::Credential),
            ],
        );
    let shown = vec![
        ("client_email", json!(account.client_email)),
        ("scope", json!(scope)),
        (SERVICE_ACCOUNT.value, secret::shown(&origin)),
    ];
    Some(Parts {
        assertion: Some(assertion),
        account: account.client_email,
        shown,
        ..Parts::new(build(section, "preset", builder)?, Covers::Session)
    })
}

/// Parses a service-account file, or base64 of one.
fn parse_account(text: &str) -> Result<(ServiceAccount, JwtKey), String> {
    const NONE: &str = "is not a service-account file in JSON, or base64 of one";
    let text = text.trim_start_matches('\u{feff}').trim();
    let decoded = BASE64_STANDARD.decode(text).ok().map(Zeroizing::new);
    let bytes = decoded.as_ref().map_or(text.as_bytes(), |decoded| decoded.as_slice());
    let mut account: ServiceAccount = serde_json::from_slice(bytes).map_err(|_| NONE)?;
    let key = Zeroizing::new(std::mem::take(&mut account.private_key));
    let key = JwtKey::parse_private(&key, Algorithm::RS256);
    let key = key.map_err(|error| format!("has a private_key that {error}"))?;
    Ok((account, key))
}

/// The demo's file. Its key is public and protects nothing.
fn demo_account() -> String {
    json!({
        "type": "service_account",
        "project_id": "demo",
        "private_key_id": "demo",
        "private_key": RSA_KEY,
        "client_email": "demo@demo.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token",
    })
    .to_string()
}

fn answer(issued: &Issued<'_>) -> (Answer, String) {
    let token = format!("ya29.{}", issued.name);
    let body = json!({"access_token": token, "expires_in": issued.life, "token_type": "Bearer"});
    (Answer::json(StatusCode::OK, &body), token)
}

fn refuse(refused: Refused) -> Answer {
    if refused.why == RefusalReason::Credential {
        let description = "Invalid JWT Signature.";
        let body = json!({"error": "invalid_grant", "error_description": description});
        return Answer::json(StatusCode::BAD_REQUEST, &body);
    }
    super::oauth2::refuse(refused)
}
