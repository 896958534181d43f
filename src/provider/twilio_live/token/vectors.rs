//! Our tokens against those that Twilio's helper libraries made of the same inputs.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::Sha256;

use super::*;
use crate::{
    clock::{Anchor, Clock, WallTime},
    egress::ProxySetting,
    grant::{Generation, Grant},
    name::Identity,
    provider::{
        twilio::{
            MAX_TOKEN_TTL,
            grants::{Incoming, Outgoing, ProductGrants, VoiceGrant},
            ids::{AccountSid, ApiKeySecret, ApiKeySid, PlayerStreamerSid},
        },
        twilio_live::wire,
    },
    settings::SecretOrigin,
    token::{
        Call, PrepareError, Times, TokenFormat,
        id::{SERIAL_CHARS, Serial},
    },
};

const VECTORS: &str = include_str!("../../../../tests/vectors/access_tokens.json");

#[derive(Deserialize)]
struct Vector {
    id: String,
    inputs: Inputs,
    header: Option<Value>,
    claims: Option<Value>,
}

#[derive(Deserialize)]
struct Inputs {
    account_sid: String,
    signing_key_sid: String,
    secret: String,
    identity: Value,
    identity_after: Option<String>,
    ttl: Option<i64>,
    now: i64,
    valid_until: Option<i64>,
    region: Option<String>,
    /// Absent: as the library will; null: none.
    #[serde(default, deserialize_with = "present")]
    nbf: Option<Value>,
    algorithm: Option<String>,
    grants: Vec<Map<String, Value>>,
}

fn present<'de, D: serde::Deserializer<'de>>(given: D) -> Result<Option<Value>, D::Error> {
    Deserialize::deserialize(given).map(Some)
}

impl Inputs {
    fn times(&self) -> Times {
        let expire = self.now + self.ttl.unwrap_or(3600);
        Times { issue: self.now, expire: self.valid_until.unwrap_or(expire) }
    }

    fn of_type(&self, name: &str) -> Option<&Map<String, Value>> {
        self.grants.iter().find(|grant| grant["type"] == name)
    }

    fn nbf_backdate(&self) -> Option<u32> {
        let nbf = self.nbf.as_ref().and_then(Value::as_i64);
        nbf.map(|nbf| u32::try_from(self.now - nbf).unwrap())
    }

    fn config(&self) -> Config {
        Config {
            account_sid: AccountSid::parse(&self.account_sid).unwrap(),
            api_key_sid: ApiKeySid::parse(&self.signing_key_sid).unwrap(),
            api_key_secret: ApiKeySecret::parse(&self.secret).unwrap(),
            api_key_secret_origin: SecretOrigin::Env("API_SECRET".to_owned()),
            allow_origin: None,
            upstream: "https://media.twilio.com".parse().unwrap(),
            proxy: ProxySetting::default(),
            region: self.region.clone(),
            grants: self.extra_grants(),
        }
    }

    fn extra_grants(&self) -> ProductGrants {
        fn read<T: for<'de> Deserialize<'de>>(grant: Option<&Map<String, Value>>) -> Option<T> {
            let mut members = grant?.clone();
            members.remove("type");
            Some(serde_json::from_value(members.into()).unwrap())
        }
        ProductGrants {
            video: read(self.of_type("video")),
            voice: self.of_type("voice").map(voice),
            chat: read(self.of_type("chat")),
            data_sync: read(self.of_type("sync")),
            task_router: read(self.of_type("task_router")),
        }
    }

    /// The grant and the identity; else why we make no token of these inputs.
    fn applicable(&self) -> Result<(&str, String), &'static str> {
        if self.algorithm.is_some() {
            return Err("another algorithm: we sign HS256");
        }
        let grant = self.of_type("playback").ok_or("no player's grant: the others ride on one")?;
        let grant = grant["grant_json"].as_str().ok_or("no grant: never taken from upstream")?;
        if !is_taken(grant) {
            return Err("no playback grant: never taken from upstream");
        }
        let Value::String(identity) = &self.identity else {
            return Err("identity not a text: refused at the door");
        };
        let identity = self.identity_after.as_ref().unwrap_or(identity);
        let identity = Identity::parse(identity.as_str())
            .map_err(|_| "identity empty, too long or with control characters: refused")?;
        let Times { issue, expire } = self.times();
        if !(1..=MAX_TOKEN_TTL.as_secs().cast_signed()).contains(&(expire - issue)) {
            return Err("ttl under a second or over Twilio's day: refused");
        }
        Ok((grant, identity.to_string()))
    }

    /// A token of this grant and identity, with its id.
    fn mint(&self, grant: &str, identity: &str) -> (String, String) {
        let now = Anchor { wall: WallTime::from_unix_seconds(self.now), ..Clock::system().now() };
        let life = Duration::from_secs(60);
        let grant =
            Grant::new(grant.into(), now, life, Generation::after(Generation::NONE, now.wall));
        let signer =
            access_tokens(&self.config(), self.nbf_backdate()).prepare(Some(&grant), now).unwrap();
        let stamped = signer.at(self.times(), &Call::NONE).unwrap();
        let serial = Serial::SELF_TEST.plus(7);
        (stamped.sign(identity, serial).unwrap().into(), stamped.token_id(serial).unwrap())
    }
}

fn voice(grant: &Map<String, Value>) -> VoiceGrant {
    let text = |name: &str| grant.get(name).and_then(Value::as_str).map(str::to_owned);
    VoiceGrant {
        incoming: grant["incoming_allow"].as_bool().map(|allow| Incoming { allow }),
        outgoing: text("outgoing_application_sid").map(|application_sid| Outgoing {
            application_sid,
            params: grant["outgoing_application_params"].as_object().unwrap().clone(),
        }),
        push_credential_sid: text("push_credential_sid"),
        endpoint_id: text("endpoint_id"),
    }
}

/// Whether an answer around a grant of this shape is taken from the upstream; the SIDs of some
/// are not of a SID's form.
fn is_taken(grant: &str) -> bool {
    let mut grant: Value = serde_json::from_str(grant).unwrap();
    let streamer = PlayerStreamerSid::parse("VJ0123456789abcdef0123456789abcdef").unwrap();
    if let Some(sid) = grant.get_mut("playerStreamerSid") {
        *sid = streamer.as_str().into();
    }
    let account = AccountSid::parse("AC0123456789abcdef0123456789abcdef").unwrap();
    wire::read_answer(format!(r#"{{"grant":{grant}}}"#).as_bytes(), &account, &streamer).is_ok()
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(VECTORS).unwrap()
}

fn part(token: &str, at: usize) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(at).unwrap()).unwrap()
}

fn parse(token: &str, at: usize) -> Value {
    serde_json::from_slice(&part(token, at)).unwrap()
}

/// The members that tell what a token means: those that differ from library to library, and
/// the id, which ours alone makes unique, are left out.
fn meaning(mut claims: Value, with_nbf: bool) -> Value {
    let members = claims.as_object_mut().unwrap();
    members.remove("jti");
    members.remove("iat");
    if !with_nbf {
        members.remove("nbf");
    }
    claims
}

fn assert_signed(token: &str, secret: &str) {
    let (signing_input, signature) = token.rsplit_once('.').unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signing_input.as_bytes());
    mac.verify_slice(&BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
}

#[test]
fn our_tokens_mean_what_the_libraries_tokens_mean() {
    let mut skipped = BTreeMap::new();
    let (mut applied, mut mangled) = (0, 0);
    for Vector { id, inputs, header, claims } in vectors() {
        let (grant, identity) = match inputs.applicable() {
            Ok(applicable) => applicable,
            Err(reason) => {
                *skipped.entry(reason).or_insert(0) += 1;
                continue;
            }
        };
        applied += 1;
        let (token, token_id) = inputs.mint(grant, &identity);
        assert_signed(&token, &inputs.secret);
        assert_eq!(parse(&token, 0), header.expect(&id), "{id}");

        let ours = parse(&token, 1);
        assert_eq!(ours["jti"], token_id, "{id}");
        assert_eq!(ours["iat"], inputs.now, "{id}");
        let (prefix, serial) = token_id.split_at(token_id.len() - SERIAL_CHARS);
        assert_eq!(prefix, format!("{}-{:010}-", inputs.signing_key_sid, inputs.now), "{id}");
        assert_eq!(serial.as_bytes(), Serial::SELF_TEST.plus(7).as_text(), "{id}");

        // Byte for byte, whatever a library makes of it.
        let payload = String::from_utf8(part(&token, 1)).unwrap();
        assert!(payload.contains(&format!(r#""player":{grant},"#)), "{id}: {payload}");

        let mut theirs = claims.expect(&id);
        if id.starts_with("grant-unknown-fields@twilio-node") {
            // JavaScript has no integer above 2^53 and no 1.0.
            assert_ne!(theirs["grants"]["player"], ours["grants"]["player"]);
            theirs["grants"]["player"] = ours["grants"]["player"].clone();
            mangled += 1;
        }
        let with_nbf = inputs.nbf.is_some();
        assert_eq!(meaning(ours, with_nbf), meaning(theirs, with_nbf), "{id}");
    }

    let meant = BTreeMap::from([
        ("another algorithm: we sign HS256", 3),
        ("identity empty, too long or with control characters: refused", 11),
        ("identity not a text: refused at the door", 8),
        ("no grant: never taken from upstream", 4),
        ("no playback grant: never taken from upstream", 4),
        ("no player's grant: the others ride on one", 6),
        ("ttl under a second or over Twilio's day: refused", 4),
    ]);
    assert_eq!(skipped, meant);
    assert_eq!((applied, mangled), (60, 1));
}

#[test]
fn grants_beside_the_players_are_those_of_the_libraries() {
    let basic = vectors()[0].inputs.of_type("playback").unwrap()["grant_json"].clone();
    let mut applied = 0;
    for Vector { id, inputs, claims, .. } in vectors() {
        if inputs.grants.is_empty() || inputs.of_type("playback").is_some() {
            continue;
        }
        applied += 1;
        let (token, _) = inputs.mint(basic.as_str().unwrap(), inputs.identity.as_str().unwrap());
        let mut ours = parse(&token, 1)["grants"].take();
        ours.as_object_mut().unwrap().remove("player").unwrap();
        assert_eq!(ours, claims.expect(&id)["grants"], "{id}");
    }
    // Voice and TaskRouter, by two libraries.
    assert_eq!(applied, 4);
}

#[test]
fn numbers_nulls_and_order_of_a_grant_survive() {
    let id = "grant-unknown-fields@twilio-python-9.13.0";
    let inputs = vectors().into_iter().find(|vector| vector.id == id).unwrap().inputs;
    let (token, _) = inputs.mint(
        r#"{"z": null,"playerStreamerSid":"VJ","a":1.0,"big":9007199254740993,"tiny":1e-400,"playbackUrl":"https:\/\/é\u00e9"}"#,
        "alice",
    );
    let payload = String::from_utf8(part(&token, 1)).unwrap();
    assert!(payload.contains(
        r#""player":{"z": null,"playerStreamerSid":"VJ","a":1.0,"big":9007199254740993,"tiny":1e-400,"playbackUrl":"https:\/\/é\u00e9"}"#
    ));
}

#[test]
fn a_grant_that_is_no_json_is_never_laid_into_a_token() {
    let inputs = vectors().swap_remove(0).inputs;
    let now = Clock::system().now();
    for text in ["", "bearer", "{", r#"{},"identity":"admin""#, r#"{}},"sub":"AC""#, "{}{}"] {
        let grant = Grant::new(text.into(), now, Duration::from_secs(60), Generation::NONE);
        let prepared =
            access_tokens(&inputs.config(), inputs.nbf_backdate()).prepare(Some(&grant), now);
        assert_eq!(prepared.err(), Some(PrepareError::GrantUnfit), "{text}");
    }
}
