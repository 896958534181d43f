//! GitHub Apps: tokens of an app's installations, which are the resources.
//!
//! Source: GitHub's pages "Generating a JSON Web Token (JWT) for a GitHub App", "REST API endpoints
//! for GitHub Apps" and "Rate limits for the REST API".

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::StatusCode;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value, json};

use super::{DemoKeys, Preset, RSA_KEY, build, parse_name, secret_keys};
use crate::{
    grant::FaultClass,
    name::{NameError, Resource},
    provider::{
        LifeRules,
        forward::{
            assertion::{Assertion, table},
            emulation::{Emulation, Issued, Refused},
            errors::RateLimit,
            parts::{Covers, DEFAULT_REFRESH_AT, Parts},
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

const PRIVATE_KEY: SecretKeys = secret_keys("private_key_file", "private_key_env", "private_key");

/// GitHub accepts an expiry up to ten minutes ahead of its clock.
const ASSERTION_LIFE: Duration = Duration::from_secs(9 * 60);

/// GitHub's recommended backdating against clock skew, in seconds.
const BACK: u32 = 60;

const RATE_LIMIT: RateLimit =
    RateLimit { remaining: "x-ratelimit-remaining", reset: "x-ratelimit-reset" };

pub(super) static PRESET: Preset = Preset {
    name: "github-app",
    life: LifeRules::Reported,
    refresh_at: DEFAULT_REFRESH_AT,
    parse_resource,
    read,
    emulation: Emulation {
        life: Duration::from_secs(60 * 60),
        assertion_life: Duration::from_secs(10 * 60),
        answer,
        refuse,
        ..Emulation::DEFAULT
    },
    demo: || DemoKeys {
        keys: vec![("app_id", "1".into())],
        secret: PRIVATE_KEY,
        value: BASE64_STANDARD.encode(RSA_KEY),
        resources: vec!["1"],
    },
};

fn read(section: &mut Section<'_>) -> Option<Parts> {
    let app = section.text_or_integer("app_id");
    if app.is_none() && !section.has("app_id") {
        section.problem("app_id", "is missing");
    }
    let app = parse_name(&app?).map_err(|error| section.problem("app_id", error)).ok();
    let key = section.secret(PRIVATE_KEY, |text| JwtKey::parse_private(text, Algorithm::RS256));
    let repositories = section.list_or_empty("repositories", parse_name_of_repository);
    let permissions: Option<Map<String, Value>> = if section.has("permissions") {
        section.deserialized("permissions")
    } else {
        Some(Map::new())
    };
    let (app, (key, origin), repositories, permissions) = (app?, key?, repositories?, permissions?);
    let claims = [
        ("iss", Claim::Constant(json!(app))),
        ("iat", Claim::Time(Time::Issue { back: BACK })),
        ("exp", Claim::Time(Time::Expire)),
    ];
    let assertion =
        Assertion::new(table(Algorithm::RS256, Map::new(), claims), key, ASSERTION_LIFE);
    let at = if section.has(PRIVATE_KEY.file) { PRIVATE_KEY.file } else { PRIVATE_KEY.env };
    let assertion = assertion.map_err(|error| section.problem(at, error.to_string())).ok()?;
    let mut builder =
        RecipeBuilder::post("https://api.github.com/app/installations/{resource}/access_tokens")
            .header("authorization", "Bearer {assertion}")
            .header("accept", "application/vnd.github+json")
            .header("x-github-api-version", "2022-11-28")
            .credential("/token")
            .until("/expires_at")
            .with(|it| {
                it.errors.rate_limit = Some(RATE_LIMIT);
                // A suspended installation; 401 concerns the app.
                it.errors.statuses = &[(403, FaultClass::Resource)];
            });
    let mut shown = vec![("app_id", json!(app)), (PRIVATE_KEY.value, secret::shown(&origin))];
    let mut narrowed = Map::new();
    if !repositories.is_empty() {
        narrowed.insert("repositories".to_owned(), json!(repositories));
        shown.push(("repositories", json!(repositories)));
    }
    if !permissions.is_empty() {
        narrowed.insert("permissions".to_owned(), json!(permissions));
        shown.push(("permissions", json!(permissions)));
    }
    if !narrowed.is_empty() {
        builder = builder.json(narrowed.into());
    }
    Some(Parts {
        assertion: Some(assertion),
        account: app,
        shown,
        ..Parts::new(build(section, "permissions", builder)?, Covers::Session)
    })
}

/// An installation's number.
fn parse_resource(text: &str) -> Result<Resource, NameError> {
    let is_number = text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && !text.starts_with('0') {
        return Resource::parse(text);
    }
    Err(NameError::NotOfItsKind("is not an installation number"))
}

fn parse_name_of_repository(text: &str) -> Result<String, &'static str> {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = (1..=100).contains(&text.len()) && text.bytes().all(of_name);
    if is_name { Ok(text.to_owned()) } else { Err("is not a repository name without its owner") }
}

fn answer(issued: &Issued<'_>) -> (Answer, String) {
    let token = format!("ghs_{}", issued.name);
    let body = json!({
        "token": token,
        "expires_at": issued.rfc3339(),
        "permissions": {"metadata": "read"},
        "repository_selection": "all",
    });
    (Answer::json(StatusCode::CREATED, &body), token)
}

fn refuse(refused: Refused) -> Answer {
    let message = match refused.status.as_u16() {
        400 => "Problems parsing JSON",
        401 => "A JSON web token could not be decoded",
        403 => "Resource not accessible by integration",
        404 | 405 => "Not Found",
        422 => "The permissions requested are not granted to this installation.",
        429 => "API rate limit exceeded",
        _ => return Answer::page(refused.status),
    };
    let body = json!({
        "message": message,
        "documentation_url": "https://docs.github.com/rest",
        "status": refused.status.as_str(),
    });
    Answer::json(refused.status, &body)
}
