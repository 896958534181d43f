//! Cloudflare Realtime: credentials for its TURN servers.
//!
//! Source: Cloudflare's guide "Generate Credentials". It documents no refusal body.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use super::{DemoKeys, Preset, build, parse_name, secret_keys};
use crate::{
    provider::{
        LifeRules,
        forward::{
            emulation::{Emulation, Issued},
            life::LifeAt,
            parts::{Covers, Parts, parse_resource},
            recipe::RecipeBuilder,
            secret::{self, Secret},
        },
    },
    sandbox::Answer,
    settings::{SecretKeys, Section},
};

const API_TOKEN: SecretKeys = secret_keys("api_token_file", "api_token_env", "api_token");

const DEFAULT_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

const MAX_LIFE: Duration = Duration::from_secs(48 * 60 * 60);

pub(super) static PRESET: Preset = Preset {
    name: "cloudflare-turn",
    life: LifeRules::Requested { default: DEFAULT_LIFE, max: MAX_LIFE },
    // The remaining life must cover the longest call.
    refresh_at: 0.5,
    parse_resource,
    read,
    emulation: Emulation { life: DEFAULT_LIFE, max_life: MAX_LIFE, answer, ..Emulation::DEFAULT },
    demo: || DemoKeys {
        keys: vec![("key_id", "0123456789abcdef0123456789abcdef".into())],
        secret: API_TOKEN,
        value: "public-demo-token-of-the-sandbox-only".to_owned(),
        resources: Vec::new(),
    },
};

fn read(section: &mut Section<'_>) -> Option<Parts> {
    let key_id = section.required("key_id", parse_name);
    let secret = Secret::read(section, API_TOKEN);
    let (key_id, (secret, origin)) = (key_id?, secret?);
    let url = format!(
        "https://rtc.live.cloudflare.com/v1/turn/keys/{key_id}/credentials/generate-ice-servers"
    );
    let builder = RecipeBuilder::post(&url)
        .header("authorization", "Bearer {secret}")
        .json(json!({"ttl": "{grant_ttl}"}))
        .credential("/iceServers")
        .life(LifeAt::Requested);
    let shown = vec![("key_id", json!(key_id)), (API_TOKEN.value, secret::shown(&origin))];
    Some(Parts {
        secret: Some(secret),
        account: key_id,
        shown,
        ..Parts::new(build(section, "key_id", builder)?, Covers::Session)
    })
}

fn answer(issued: &Issued<'_>) -> (Answer, String) {
    let host = "turn.cloudflare.com";
    let turn =
        ["turn:{}:3478?transport=udp", "turn:{}:3478?transport=tcp", "turns:{}:5349?transport=tcp"];
    let turn = turn.map(|url| url.replace("{}", host));
    let ice_servers = json!([
        {"urls": ["stun:stun.cloudflare.com:3478"]},
        {"urls": turn, "username": issued.name, "credential": issued.password()},
    ]);
    let body = json!({"iceServers": ice_servers});
    (Answer::json(StatusCode::CREATED, &body), ice_servers.to_string())
}
