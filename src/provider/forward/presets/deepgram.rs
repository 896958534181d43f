//! Deepgram: temporary tokens for its APIs.
//!
//! Source: Deepgram's guide "Token-Based Authentication" and its API reference, `POST
//! /v1/auth/grant`. The 400 for a wrong key was reported by a user.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::{DemoKeys, Preset, build, secret_keys};
use crate::{
    grant::FaultClass,
    provider::{
        LifeRules,
        forward::{
            emulation::{Emulation, Issued, RefusalReason, Refused},
            parts::{Covers, DEFAULT_REFRESH_AT, Parts, parse_resource},
            recipe::RecipeBuilder,
            secret::{self, Secret},
        },
    },
    sandbox::Answer,
    settings::{SecretKeys, Section},
};

const API_KEY: SecretKeys = secret_keys("api_key_file", "api_key_env", "api_key");

/// The default life of a token.
const DEFAULT_LIFE: Duration = Duration::from_secs(30);

const MAX_LIFE: Duration = Duration::from_secs(60 * 60);

pub(super) static PRESET: Preset = Preset {
    name: "deepgram",
    life: LifeRules::Requested { default: DEFAULT_LIFE, max: MAX_LIFE },
    refresh_at: DEFAULT_REFRESH_AT,
    parse_resource,
    read,
    emulation: Emulation {
        life: DEFAULT_LIFE,
        max_life: MAX_LIFE,
        answer,
        refuse,
        ..Emulation::DEFAULT
    },
    demo: || DemoKeys {
        keys: Vec::new(),
        secret: API_KEY,
        value: "public-demo-key-of-the-sandbox-only".to_owned(),
        resources: Vec::new(),
    },
};

fn read(section: &mut Section<'_>) -> Option<Parts> {
    let (secret, origin) = Secret::read(section, API_KEY)?;
    let builder = RecipeBuilder::post("https://api.deepgram.com/v1/auth/grant")
        .header("authorization", "Token {secret}")
        .json(json!({"ttl_seconds": "{grant_ttl}"}))
        .with(|it| it.default_life = Some(DEFAULT_LIFE))
        .credential("/access_token")
        .seconds("/expires_in")
        // A wrong key gets status 400.
        .codes("/err_msg", &[("Invalid credentials.", FaultClass::Credential)]);
    Some(Parts {
        secret: Some(secret),
        // The key names no account, so its location identifies the account.
        account: origin.to_string(),
        shown: vec![(API_KEY.value, secret::shown(&origin))],
        ..Parts::new(build(section, "preset", builder)?, Covers::Connect)
    })
}

fn answer(issued: &Issued<'_>) -> (Answer, String) {
    let token = issued.jwt(&json!({"scopes": ["asr:write"]}));
    let life = f64::from(u32::try_from(issued.life).unwrap_or(u32::MAX));
    let body = json!({"access_token": token, "expires_in": life});
    (Answer::json(StatusCode::OK, &body), token)
}

fn refuse(refused: Refused) -> Answer {
    let (code, message) = match (refused.why, refused.status.as_u16()) {
        (RefusalReason::Credential, _) => {
            return error(StatusCode::BAD_REQUEST, "bad_request", "Invalid credentials.");
        }
        (_, 400) => ("bad_request", "Bad request."),
        (_, 401) => ("invalid_auth", "Invalid credentials."),
        (_, 403) => ("forbidden", "Insufficient permissions."),
        (_, 429) => ("too_many_requests", "Too many requests."),
        _ => return Answer::page(refused.status),
    };
    error(refused.status, code, message)
}

fn error(status: StatusCode, code: &str, message: &str) -> Answer {
    Answer::json(status, &json!({"err_code": code.to_ascii_uppercase(), "err_msg": message}))
}
