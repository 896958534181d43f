//! WeChat: the access token of an official account or a mini program, shared by all servers.
//!
//! Source: WeChat's guide "Get stable access token" and its list of error codes. Every response has
//! status 200. Until shortly before its expiry, the same token is returned.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::{DemoKeys, Preset, build, escaped, parse_name, secret_keys};
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

const APP_SECRET: SecretKeys = secret_keys("app_secret_file", "app_secret_env", "app_secret");

pub(super) static PRESET: Preset = Preset {
    name: "wechat",
    life: LifeRules::Reported,
    refresh_at: DEFAULT_REFRESH_AT,
    parse_resource,
    read,
    emulation: Emulation {
        life: Duration::from_secs(7_200),
        renewed_before: Some(Duration::from_secs(5 * 60)),
        answer,
        refuse,
        ..Emulation::DEFAULT
    },
    demo: || DemoKeys {
        keys: vec![("app_id", "wx0123456789abcdef".into())],
        secret: APP_SECRET,
        value: "public-demo-secret-of-the-sandbox-only".to_owned(),
        resources: Vec::new(),
    },
};

/// Codes with a known class: busy; too many calls per day or per minute; a wrong secret, a wrong
/// app, an address that is not allowed, a frozen secret.
const CODES: [(&str, FaultClass); 8] = [
    ("-1", FaultClass::Transient),
    ("45009", FaultClass::Throttled),
    ("45011", FaultClass::Throttled),
    ("40001", FaultClass::Credential),
    ("40013", FaultClass::Credential),
    ("40125", FaultClass::Credential),
    ("40164", FaultClass::Credential),
    ("40243", FaultClass::Credential),
];

fn read(section: &mut Section<'_>) -> Option<Parts> {
    let app = section.required("app_id", parse_name);
    let secret = Secret::read(section, APP_SECRET);
    let (app, (secret, origin)) = (app?, secret?);
    let body = json!({
        "grant_type": "client_credential",
        "appid": escaped(&app),
        "secret": "{secret}",
        // The token of another server stays valid.
        "force_refresh": false,
    });
    let builder = RecipeBuilder::post("https://api.weixin.qq.com/cgi-bin/stable_token")
        .json(body)
        .credential("/access_token")
        .seconds("/expires_in")
        .codes("/errcode", &CODES);
    let shown = vec![("app_id", json!(app)), (APP_SECRET.value, secret::shown(&origin))];
    Some(Parts {
        secret: Some(secret),
        account: app,
        shown,
        ..Parts::new(build(section, "app_id", builder)?, Covers::Session)
    })
}

fn answer(issued: &Issued<'_>) -> (Answer, String) {
    let token = format!("{}_{}", issued.name, issued.password());
    let body = json!({"access_token": token, "expires_in": issued.life});
    (Answer::json(StatusCode::OK, &body), token)
}

/// WeChat's own refusals have status 200 and a code.
fn refuse(refused: Refused) -> Answer {
    let (code, message) = match (refused.why, refused.status.as_u16()) {
        (RefusalReason::Credential, _) => (40125, "invalid appsecret"),
        (_, 400) => (40002, "invalid grant_type"),
        (_, 401 | 403) => (40001, "invalid credential"),
        (_, 405) => (43002, "require POST method"),
        (_, 429) => (45009, "reach max api daily quota limit"),
        (_, 503) => (-1, "system error"),
        _ => return Answer::page(refused.status),
    };
    let body = json!({"errcode": code, "errmsg": message});
    Answer::json(StatusCode::OK, &body).refusing(refused.status)
}
