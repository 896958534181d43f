//! Our tokens against those that LiveKit's libraries made of the same inputs.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::Sha256;

use super::{config::PARAMETERS, *};
use crate::{
    clock::{Anchor, Clock, WallTime},
    config,
    token::{Call, Times, id::Serial},
};

const VECTORS: &str = include_str!("../../../tests/vectors/livekit.json");

const SECRET: &str = "ugVuYHkADn89s61poB22XUaASmhRGVlJjcLnfuGpRFku";

#[derive(Deserialize)]
struct Vector {
    id: String,
    inputs: Inputs,
    claims: Option<Value>,
}

#[derive(Deserialize)]
struct Inputs {
    now: i64,
    ttl_seconds: Option<i64>,
    identity: Option<String>,
    resource: Option<String>,
    params: Map<String, Value>,
}

impl Inputs {
    /// The constants of a profile whose tokens are these; else why there is none.
    fn params(&self) -> Result<Map<String, Value>, &'static str> {
        let mut params = Map::new();
        let video = self.params.get("video").and_then(Value::as_object);
        let video = video.ok_or("no right in a room: not for participants")?;
        if video.get("roomJoin") != Some(&Value::Bool(true)) {
            return Err("does not join: not for participants");
        }
        let claims = self.params.iter().filter(|(name, _)| *name != "video");
        let claims = claims.map(|(name, value)| (vec![name.as_str()], value));
        let video = video.iter().filter(|(name, _)| *name != "roomJoin");
        for (path, value) in claims.chain(video.map(|(name, value)| (vec!["video", name], value))) {
            let parameter = PARAMETERS.iter().find(|parameter| parameter.path == path);
            let parameter =
                parameter.ok_or("a right over the server, or a room's configuration")?;
            parameter.shape.check(value).map_err(|_| "an empty list of sources: refused")?;
            params.insert(parameter.name.to_owned(), value.clone());
        }
        Ok(params)
    }

    /// The whole way: from a profile in TOML to the token's claims.
    fn mint(&self, params: &Map<String, Value>) -> Result<(String, Value), &'static str> {
        let identity = self.identity.as_deref().ok_or("nobody's: refused")?;
        let ttl = self.ttl_seconds.filter(|ttl| *ttl > 0).unwrap_or(6 * 60 * 60);
        let scope = match &self.resource {
            Some(resource) => format!("resources = [{}]", Value::from(resource.as_str())),
            None => "allow_unscoped = true".to_owned(),
        };
        let params = in_toml(&params.clone().into());
        let text = format!(
            "[profiles.room]\nkind = \"livekit\"\napi_key = \"APItestShared\"\n\
             api_secret_env = \"SECRET\"\n{scope}\nparams = {params}"
        );
        let env = |_: &str| Some(SECRET.to_owned());
        let config = config::Config::parse_with("f.toml", &text, &env);
        let profile = config.unwrap_or_else(|error| panic!("{error}")).profiles.remove(0);
        let now = Anchor { wall: WallTime::from_unix_seconds(self.now), ..Clock::system().now() };
        let signer = profile.provider.token_format().prepare(None, now).unwrap();
        let times = Times { issue: self.now, expire: self.now + ttl };
        let resource = self.resource.as_deref().unwrap_or_default();
        let stamped = signer.at(times, &Call { resource, params: &[] }).unwrap();
        let token = String::from(stamped.sign(identity, Serial::SELF_TEST).unwrap());
        let claims = token.split('.').nth(1).unwrap();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
        assert!(claims.is_ascii());
        let mut claims: Value = serde_json::from_slice(&claims).unwrap();
        let id = claims.as_object_mut().unwrap().remove("jti");
        assert_eq!(id, stamped.token_id(Serial::SELF_TEST).map(Value::from));
        Ok((token, claims))
    }
}

/// A value as TOML writes it on one line.
fn in_toml(value: &Value) -> String {
    let Value::Object(members) = value else { return value.to_string() };
    let members = members
        .iter()
        .map(|(name, value)| format!("{} = {}", Value::from(name.as_str()), in_toml(value)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
}

fn assert_signed(token: &str) {
    let (signing_input, signature) = token.rsplit_once('.').unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(signing_input.as_bytes());
    mac.verify_slice(&BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
}

/// Python's library writes what is true where it is left out.
fn without_defaults(mut claims: Value) -> Value {
    if let Some(video) = claims["video"].as_object_mut() {
        for right in ["canPublish", "canSubscribe", "canPublishData"] {
            video.retain(|name, value| name != right || *value != Value::Bool(true));
        }
    }
    claims
}

#[test]
fn our_tokens_mean_what_the_libraries_tokens_mean() {
    let vectors: Vec<Vector> = serde_json::from_str(VECTORS).unwrap();
    let mut skipped = BTreeMap::new();
    let mut applied = 0;
    for Vector { id, inputs, claims } in vectors {
        let minted = inputs.params().and_then(|params| inputs.mint(&params));
        let (token, ours) = match minted {
            Ok(minted) => minted,
            Err(reason) => {
                *skipped.entry(reason).or_insert(0) += 1;
                continue;
            }
        };
        // Python's library refuses a token without a room, which here a person must allow.
        let Some(theirs) = claims else {
            assert!(id.starts_with("py-join-without-room"), "{id}");
            continue;
        };
        assert_signed(&token);
        assert_eq!(without_defaults(ours), without_defaults(theirs), "{id}");
        applied += 1;
    }
    let meant = BTreeMap::from([
        ("a right over the server, or a room's configuration", 2),
        ("an empty list of sources: refused", 1),
        ("does not join: not for participants", 3),
        ("no right in a room: not for participants", 1),
        ("nobody's: refused", 1),
    ]);
    assert_eq!(skipped, meant);
    assert_eq!(applied, 13);
}

#[test]
fn the_life_of_a_token_without_one_is_the_libraries() {
    assert_eq!(RULES.token_ttl, Duration::from_secs(6 * 60 * 60));
}
