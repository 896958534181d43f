//! OAuth 2.0 client credentials, for any authorization server.
//!
//! Source: RFC 6749, sections 2.3.1, 4.4 and 5.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::{DemoKeys, Preset, build, escaped, parse_text, secret_keys};
use crate::{
    grant::FaultClass,
    provider::{
        LifeRules,
        forward::{
            emulation::{Emulation, Issued, RefusalReason, Refused},
            life::parse_duration,
            parts::{Covers, DEFAULT_REFRESH_AT, Parts, parse_resource},
            recipe::{Basic, FormEncoded, RecipeBuilder},
            secret::{self, Secret},
        },
    },
    sandbox::Answer,
    settings::{SecretKeys, Section, shown as shown_duration},
};

const CLIENT_SECRET: SecretKeys =
    secret_keys("client_secret_file", "client_secret_env", "client_secret");

pub(super) static PRESET: Preset = Preset {
    name: "oauth2",
    life: LifeRules::Reported,
    refresh_at: DEFAULT_REFRESH_AT,
    parse_resource,
    read,
    emulation: Emulation {
        life: Duration::from_secs(60 * 60),
        answer,
        refuse,
        ..Emulation::DEFAULT
    },
    demo: || DemoKeys {
        keys: vec![
            ("token_url", "https://idp.example.com/oauth2/token".into()),
            ("client_id", "demo".into()),
        ],
        secret: CLIENT_SECRET,
        value: "public-demo-secret-of-the-sandbox-only".to_owned(),
        resources: Vec::new(),
    },
};

fn read(section: &mut Section<'_>) -> Option<Parts> {
    let url = section.required("token_url", parse_url);
    let client = section.required("client_id", parse_text);
    let secret = Secret::read(section, CLIENT_SECRET);
    let scope = section.parsed("scope", parse_text);
    let otherwise = section.parsed("life", parse_duration);
    let (url, client, (secret, origin)) = (url?, client?, secret?);
    let basic = Basic { user: client.clone(), form_encoded: FormEncoded::Yes };
    let mut form = vec![("grant_type", "client_credentials".to_owned())];
    form.extend(scope.as_deref().map(|scope| ("scope", escaped(scope))));
    let form: Vec<_> = form.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let builder = RecipeBuilder::post(&url)
        .with(|it| it.basic = Some(basic))
        .form(&form)
        .credential("/access_token")
        .seconds("/expires_in")
        .with(|it| it.life.otherwise = otherwise)
        .codes("/error", &CODES);
    let mut shown = vec![
        ("token_url", json!(url)),
        ("client_id", json!(client)),
        (CLIENT_SECRET.value, secret::shown(&origin)),
    ];
    shown.extend(scope.map(|scope| ("scope", json!(scope))));
    shown.extend(otherwise.map(|life| ("life", json!(shown_duration(life)))));
    Some(Parts {
        secret: Some(secret),
        account: client,
        shown,
        ..Parts::new(build(section, "token_url", builder)?, Covers::Session)
    })
}

/// The codes of RFC 6749, 5.2, that are more specific than their status.
const CODES: [(&str, FaultClass); 4] = [
    ("invalid_client", FaultClass::Credential),
    ("unauthorized_client", FaultClass::Credential),
    ("temporarily_unavailable", FaultClass::Transient),
    ("server_error", FaultClass::Transient),
];

fn parse_url(text: &str) -> Result<String, &'static str> {
    if text.contains(['{', '}']) { Err("contains a brace") } else { Ok(text.to_owned()) }
}

fn answer(issued: &Issued<'_>) -> (Answer, String) {
    let token = issued.name.to_owned();
    let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": issued.life});
    (Answer::json(StatusCode::OK, &body), token)
}

pub(super) fn refuse(refused: Refused) -> Answer {
    let error = match (refused.why, refused.status.as_u16()) {
        (RefusalReason::Credential, _) | (_, 401) => "invalid_client",
        (_, 400) => "invalid_request",
        (_, 403) => "unauthorized_client",
        (_, 503) => "temporarily_unavailable",
        _ => return Answer::page(refused.status),
    };
    Answer::json(refused.status, &json!({"error": error}))
}
