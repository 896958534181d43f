//! Kinds that sign with a key alone: ours against the tokens that vendors' libraries made of the
//! same inputs, and the whole way through the real binary.

mod agora;
mod cloudflare_stream;
mod daily;
mod each;
mod hundred_ms;
mod ivs_playback;
mod ivs_stage;
mod jwt;
mod libraries;
mod livekit;
mod matrix;
mod mux;
mod node;
mod secrets;
mod slow;
mod twilio_access;
mod values;
mod video;
mod vonage_video;
mod zoom_videosdk;

use std::{fs, path::Path};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use grantmint::{
    clock::{Anchor, Clock, WallTime},
    config::{Config, Profile},
    provider::KINDS,
    reading::{Jwt, View},
    token::{Call, Times, id::Serial, key::JwtKey},
};
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::support::{Serve, run};

/// A token of a vendor's library, or its refusal.
#[derive(Deserialize)]
pub(crate) struct Vector {
    pub(crate) id: String,
    pub(crate) inputs: Inputs,
    pub(crate) header: Option<Value>,
    pub(crate) claims: Option<Value>,
    /// Claims that differ from token to token.
    #[serde(default)]
    pub(crate) random: Vec<String>,
}

/// What a vendor's library was given.
#[derive(Clone, Deserialize)]
pub(crate) struct Inputs {
    pub(crate) now: i64,
    pub(crate) ttl_seconds: Option<i64>,
    pub(crate) identity: Option<String>,
    pub(crate) resource: Option<String>,
    #[serde(default)]
    pub(crate) params: Map<String, Value>,
}

/// A token of ours, read.
pub(crate) struct Read {
    pub(crate) token: String,
    pub(crate) header: Value,
    pub(crate) claims: Value,
    pub(crate) id: Option<String>,
}

/// The vendor's signature of each vector's token is the one that our key makes: RSA with PKCS#1
/// padding has no other.
pub(crate) fn assert_signs_as_the_vendor(vectors: &str, private_key: &str) -> usize {
    let key = JwtKey::parse_private(private_key, Algorithm::RS256).unwrap();
    let vectors: Vec<Value> = serde_json::from_str(vectors).unwrap();
    let tokens = vectors.iter().filter_map(|vector| Some((&vector["id"], vector["jwt"].as_str()?)));
    let signed = tokens.filter(|(id, token)| {
        let (message, signature) = token.rsplit_once('.').unwrap();
        let is_rsa = Jwt::decode(token).unwrap().algorithm() == Some("RS256");
        assert!(!is_rsa || key.sign(message.as_bytes()).unwrap() == signature, "{id}");
        is_rsa
    });
    signed.count()
}

/// Vectors of a file.
pub(crate) fn vectors(text: &str) -> Vec<Vector> {
    serde_json::from_str(text).unwrap()
}

/// A key of the vectors, such as `/mux/private_key_base64`. It belongs to no account.
pub(crate) fn test_key(pointer: &str) -> Option<String> {
    let keys: Value = serde_json::from_str(include_str!("../vectors/kind_keys.json")).unwrap();
    keys.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

/// The one profile of a configuration in which every secret is `secret`.
///
/// # Errors
///
/// What is wrong with it.
pub(crate) fn profile(text: &str, secret: &str) -> Result<Profile, String> {
    let config = Config::parse_with("f.toml", text, &|_| Some(secret.to_owned()));
    config.map(|mut config| config.profiles.remove(0)).map_err(|problems| problems.to_string())
}

impl Inputs {
    /// A token of the profile for these inputs, where a call sets `params`, and its id.
    ///
    /// # Errors
    ///
    /// The names of parameters that the profile refuses.
    pub(crate) fn token(
        &self,
        profile: &Profile,
        params: &[(String, Value)],
    ) -> Result<(String, Option<String>), String> {
        let values = profile.tokens.parameters().of_call(params).map_err(|wrong| {
            let wrong = wrong.into_iter().map(|(name, why)| name + " " + &why.words());
            wrong.collect::<Vec<_>>().join("; ")
        })?;
        let default = i64::try_from(profile.token_ttl.as_secs()).unwrap();
        let ttl = self.ttl_seconds.filter(|ttl| *ttl > 0).unwrap_or(default);
        let now = Anchor { wall: WallTime::from_unix_seconds(self.now), ..Clock::system().now() };
        let signer = profile.token_format().prepare(None, now).map_err(|it| it.to_string())?;
        let back = i64::try_from(profile.tokens.iat_backdate().as_secs()).unwrap();
        let times = Times { issue: self.now, expire: self.now - back + ttl };
        let resource = self.resource.as_deref().unwrap_or_default();
        let stamped = signer.at(times, &Call { resource, params: &values }).unwrap();
        let identity = self.identity.as_deref().unwrap_or("nobody");
        let token = String::from(stamped.sign(identity, Serial::SELF_TEST).unwrap());
        Ok((token, stamped.token_id(Serial::SELF_TEST)))
    }

    /// The same, read: a JWT.
    ///
    /// # Errors
    ///
    /// As [`Self::token`].
    pub(crate) fn mint(
        &self,
        profile: &Profile,
        params: &[(String, Value)],
    ) -> Result<Read, String> {
        let (token, id) = self.token(profile, params)?;
        let [header, claims] = parts(&token);
        Ok(Read { token, header, claims, id })
    }
}

impl Vector {
    /// Compares header and claims, but for what is random, and for a `typ` that may be left out.
    pub(crate) fn assert_same(&self, ours: &Read) {
        let mut header = self.header.clone().unwrap();
        header.as_object_mut().unwrap().entry("typ").or_insert_with(|| "JWT".into());
        assert_eq!(ours.header, header, "{}", self.id);
        let without_random = |claims: &Value| {
            let mut claims = claims.clone();
            claims.as_object_mut().unwrap().retain(|name, _| !self.random.contains(name));
            claims
        };
        let theirs = self.claims.as_ref().unwrap();
        assert_eq!(without_random(&ours.claims), without_random(theirs), "{}", self.id);
    }
}

/// Header and claims of a token, which are ASCII.
pub(crate) fn parts(token: &str) -> [Value; 2] {
    let mut parts = token.split('.').map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap());
    [(); 2].map(|()| {
        let part = parts.next().unwrap();
        assert!(part.is_ascii(), "{token}");
        serde_json::from_slice(&part).unwrap()
    })
}

/// Checks a signature with an implementation that mints nothing here.
pub(crate) fn assert_signed(token: &str, secret: &str) {
    let (signing_input, signature) = token.rsplit_once('.').unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(signing_input.as_bytes());
    mac.verify_slice(&BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
}

/// A server with these profiles, and the secret in the file that `SECRET_FILE` stands for.
pub(crate) async fn serve(directory: &Path, text: &str, secret: &str) -> Serve {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    let (file, config) = (path("secret"), path("config"));
    fs::write(&file, secret).unwrap();
    fs::write(&config, text.replace("SECRET_FILE", &file)).unwrap();
    Serve::start(&["--config", &config]).await
}

/// The claims of a token that `grantmint mint` gets with these arguments.
pub(crate) async fn minted(serve: &Serve, arguments: &[&str]) -> Value {
    let ran = run(&[&["mint"], arguments, &["--server", &serve.server]].concat()).await;
    assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
    let [_, claims] = parts(ran.stdout.trim());
    claims
}

/// Checks that `grantmint mint` is refused with these arguments, in these words.
pub(crate) async fn assert_refused(serve: &Serve, arguments: &[&str], told: &[&str]) {
    let ran = run(&[&["mint"], arguments, &["--server", &serve.server]].concat()).await;
    assert_eq!(ran.code, Some(1), "{arguments:?}: {}{}", ran.stdout, ran.stderr);
    for told in told {
        assert!(ran.stderr.contains(told), "{arguments:?}: {told}: {}", ran.stderr);
    }
}

/// A value as TOML writes it on one line.
pub(crate) fn in_toml(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| {
                format!("{} = {}", Value::from(name.as_str()), in_toml(value))
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(in_toml).collect::<Vec<_>>().join(", "))
        }
        value => value.to_string(),
    }
}

/// A name such as `canPublish` as parameters have it: `can_publish`.
pub(crate) fn in_snake_case(name: &str) -> String {
    name.chars().fold(String::new(), |mut text, character| {
        if character.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(character.to_ascii_lowercase());
        text
    })
}

#[test]
fn each_makers_tokens_are_read_by_the_kind_that_they_are_of_and_by_no_other() {
    let files = [
        ("100ms", include_str!("../vectors/100ms.json"), 7),
        ("cloudflare-stream", include_str!("../vectors/cloudflare-stream.json"), 8),
        ("daily", include_str!("../vectors/daily.json"), 10),
        ("ivs-playback", include_str!("../vectors/ivs-playback.json"), 10),
        ("ivs-stage", include_str!("../vectors/ivs-stage.json"), 7),
        ("livekit", include_str!("../vectors/livekit.json"), 19),
        ("mux", include_str!("../vectors/mux.json"), 12),
        ("twilio", include_str!("../vectors/access_tokens.json"), 97),
        ("twilio-access", include_str!("../vectors/twilio-access.json"), 16),
        ("vonage-video", include_str!("../vectors/vonage-video.json"), 9),
        ("zoom-videosdk", include_str!("../vectors/zoom-videosdk.json"), 8),
    ];
    let view = View { now: WallTime::from_unix_seconds(1_700_000_000), mask: None };
    for (kind, text, least) in files {
        let vectors: Vec<Value> = serde_json::from_str(text).unwrap();
        let mut read = 0;
        for vector in &vectors {
            let Some(token) = vector["jwt"].as_str() else { continue };
            let token = Jwt::decode(token).unwrap();
            let readers = KINDS.iter().filter(|kind| kind.read_token(&token, view).is_some());
            let readers: Vec<_> = readers.map(|kind| kind.name()).collect();
            // One file has both of Twilio's kinds.
            let meant = match kind {
                "twilio" if token.claims["grants"].get("player").is_some() => "twilio-live",
                "twilio" => "twilio-access",
                // It is for the server's API, and names no room.
                "livekit" if token.claims.get("video").is_none() => continue,
                kind => kind,
            };
            assert_eq!(readers, [meant], "{}", vector["id"]);
            read += 1;
        }
        assert!(read >= least, "{kind}: {read}");
    }
}
