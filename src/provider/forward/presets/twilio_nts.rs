//! Twilio's Network Traversal Service: credentials for its TURN servers.
//!
//! Source: Twilio's page "REST API: Network Traversal Service Tokens", and a fixture of its
//! Python library.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::{DemoKeys, Preset, build, secret_keys};
use crate::{
    provider::{
        LifeRules,
        forward::{
            emulation::{Emulation, Issued, Refused},
            parts::{Covers, Parts, parse_resource},
            recipe::{Basic, FormEncoded, RecipeBuilder},
            secret::{self, Secret},
        },
        twilio::ids::{AccountSid, ApiKeySid},
        twilio_live::{DEMO_ACCOUNT_SID, DEMO_API_KEY_SECRET, DEMO_API_KEY_SID},
    },
    sandbox::Answer,
    settings::{SecretKeys, Section},
};

const SECRET: SecretKeys =
    secret_keys("api_key_secret_file", "api_key_secret_env", "api_key_secret");

/// The default and longest life of credentials.
const LIFE: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) static PRESET: Preset = Preset {
    name: "twilio-nts",
    life: LifeRules::Requested { default: LIFE, max: LIFE },
    // The remaining life must cover the longest call.
    refresh_at: 0.5,
    parse_resource,
    read,
    emulation: Emulation { life: LIFE, max_life: LIFE, answer, refuse, ..Emulation::DEFAULT },
    demo: || DemoKeys {
        keys: vec![
            ("account_sid", DEMO_ACCOUNT_SID.into()),
            ("api_key_sid", DEMO_API_KEY_SID.into()),
        ],
        secret: SECRET,
        value: DEMO_API_KEY_SECRET.to_owned(),
        resources: Vec::new(),
    },
};

fn read(section: &mut Section<'_>) -> Option<Parts> {
    let account = section.required("account_sid", AccountSid::parse);
    let key = section.required("api_key_sid", ApiKeySid::parse);
    let secret = Secret::read(section, SECRET);
    let (account, key, (secret, origin)) = (account?, key?, secret?);
    let account = account.as_str().to_owned();
    let url = format!("https://api.twilio.com/2010-04-01/Accounts/{account}/Tokens.json");
    let basic = Basic { user: key.as_str().to_owned(), form_encoded: FormEncoded::No };
    let builder = RecipeBuilder::post(&url)
        .with(|it| it.basic = Some(basic))
        .form(&[("Ttl", "{grant_ttl}")])
        .with(|it| it.default_life = Some(LIFE))
        .credential("/ice_servers")
        .seconds("/ttl");
    let shown = vec![
        ("account_sid", json!(account)),
        ("api_key_sid", json!(key.as_str())),
        (SECRET.value, secret::shown(&origin)),
    ];
    Some(Parts {
        secret: Some(secret),
        account,
        shown,
        ..Parts::new(build(section, "account_sid", builder)?, Covers::Session)
    })
}

fn answer(issued: &Issued<'_>) -> (Answer, String) {
    let (username, password) = (issued.name, issued.password());
    let ice_servers = json!([
        {"url": "stun:global.stun.twilio.com:3478", "urls": "stun:global.stun.twilio.com:3478"},
        {
            "url": "turn:global.turn.twilio.com:3478?transport=udp",
            "urls": "turn:global.turn.twilio.com:3478?transport=udp",
            "username": username,
            "credential": password,
        },
    ]);
    let body = json!({
        "username": username,
        "password": password,
        // Twilio writes a string.
        "ttl": issued.life.to_string(),
        "ice_servers": ice_servers,
    });
    (Answer::json(StatusCode::CREATED, &body), ice_servers.to_string())
}

fn refuse(refused: Refused) -> Answer {
    let status = refused.status;
    let (code, message) = match status.as_u16() {
        400 => (20001, "Bad request"),
        401 => (20003, "Authenticate"),
        403 => (20403, "Forbidden"),
        404 => (20404, "The requested resource was not found"),
        405 => (20004, "Method not allowed"),
        429 => (20429, "Too Many Requests"),
        500 => (20500, "An internal server error has occurred"),
        503 => (20503, "Service Unavailable"),
        _ => return Answer::page(status),
    };
    let more_info = format!("https://www.twilio.com/docs/errors/{code}");
    let body = json!({
        "code": code, "message": message, "more_info": more_info, "status": status.as_u16(),
    });
    Answer::json(status, &body)
}
