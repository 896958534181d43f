//! Deepgram: temporary tokens for its APIs.
//!
//! Source: Deepgram's guide "Token-Based Authentication" and its API reference, `POST
//! /v1/auth/grant`. The 400 for a wrong key was reported by a user.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::{DemoKeys, Preset, made, secret_keys};
use crate::{
    grant::FaultClass,
    provider::{
        LifeRules,
        forward::{
            config::{Covers, Parts, USUAL_POINT, parse_resource},
            endpoint::{Emulation, Given, Refused, Why},
            recipe::Making,
            secret::{self, Secret},
        },
    },
    sandbox::Answer,
    settings::{SecretKeys, Section},
};

const API_KEY: SecretKeys = secret_keys("api_key_file", "api_key_env", "api_key");

/// The default life of a token.
const USUAL_LIFE: Duration = Duration::from_secs(30);

const MAX_LIFE: Duration = Duration::from_secs(60 * 60);

pub(super) static PRESET: Preset = Preset {
    name: "deepgram",
    life: LifeRules::Asked { default: USUAL_LIFE, max: MAX_LIFE },
    refresh_at: USUAL_POINT,
    parse_resource,
    read,
    emulation: Emulation {
        life: USUAL_LIFE,
        max_life: MAX_LIFE,
        answer,
        refuse,
        ..Emulation::USUAL
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
    let making = Making::post("https://api.deepgram.com/v1/auth/grant")
        .header("authorization", "Token {secret}")
        .json(json!({"ttl_seconds": "{grant_ttl}"}))
        .with(|it| it.usual_life = Some(USUAL_LIFE))
        .credential("/access_token")
        .seconds("/expires_in")
        // A wrong key gets status 400.
        .codes("/err_msg", &[("Invalid credentials.", FaultClass::Credential)]);
    Some(Parts {
        secret: Some(secret),
        // The key names no account, so its location identifies the account.
        account: origin.to_string(),
        shown: vec![(API_KEY.value, secret::shown(&origin))],
        ..Parts::new(made(section, "preset", making)?, Covers::Connect)
    })
}

fn answer(given: &Given<'_>) -> (Answer, String) {
    let token = given.jwt(&json!({"scopes": ["asr:write"]}));
    let life = f64::from(u32::try_from(given.life).unwrap_or(u32::MAX));
    let body = json!({"access_token": token, "expires_in": life});
    (Answer::json(StatusCode::OK, &body), token)
}

fn refuse(refused: Refused) -> Answer {
    let (code, message) = match (refused.why, refused.status.as_u16()) {
        (Why::Credential, _) => {
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
