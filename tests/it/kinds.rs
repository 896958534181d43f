//! Kinds that sign with a key alone: our tokens compared with those that vendors' libraries made
//! from the same inputs, and the real binary from configuration to token.

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
pub(crate) mod node;
mod secrets;
mod slow;
mod twilio_access;
mod twilio_live;
mod values;
mod video;
mod vonage_video;
mod zoom_videosdk;

use std::{collections::BTreeMap, fs, path::Path};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
pub(crate) use grantmint::app::selftest::profile;
use grantmint::{
    app::selftest::{self, Minted, Verdict},
    clock::WallTime,
    config::Profile,
    provider::{
        KINDS,
        vectors::{MintRequest, Vector},
    },
    reading::{Jwt, View},
};
use serde_json::Value;

use crate::support::{Serve, run};

/// The inputs of a token.
#[derive(Clone)]
pub(crate) struct Inputs {
    pub(crate) now: i64,
    pub(crate) ttl_seconds: Option<i64>,
    pub(crate) identity: Option<String>,
    pub(crate) resource: Option<String>,
}

/// A token of ours, decoded.
pub(crate) struct Read {
    pub(crate) token: String,
    pub(crate) header: Value,
    pub(crate) claims: Value,
    pub(crate) id: Option<String>,
}

/// A key of the vectors, such as `/mux/private_key_base64`. It belongs to no account.
pub(crate) fn test_key(pointer: &str) -> Option<String> {
    let keys: Value = serde_json::from_str(include_str!("../vectors/kind_keys.json")).unwrap();
    keys.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

/// The vectors of a kind.
pub(crate) fn vectors(kind: &str) -> Vec<Vector> {
    let kind = KINDS.iter().find(|it| it.name() == kind).unwrap();
    kind.vectors().unwrap()
}

/// Checks all vectors of a kind: how many tokens equal the vendor's, and the outcomes of the others
/// with their counts.
pub(crate) fn assert_vectors(kind: &str, same: usize, others: &[(&str, usize)]) {
    let mut counts = BTreeMap::new();
    for vector in vectors(kind) {
        let outcome = match selftest::check(&vector) {
            Verdict::Same { but, .. } => but.unwrap_or("same"),
            Verdict::Refused => "refused",
            Verdict::LeftOut { why, .. } => why,
            Verdict::Different(differences) => panic!("{}: {differences:?}", vector.id),
        };
        *counts.entry(outcome).or_insert(0) += 1;
    }
    let meant: BTreeMap<_, _> = others.iter().copied().chain([("same", same)]).collect();
    assert_eq!(counts, meant);
}

impl Inputs {
    /// A token of the profile for these inputs, where a call sets `params`, and its id.
    ///
    /// # Errors
    ///
    /// Why the profile refuses it.
    pub(crate) fn token(
        &self,
        profile: &Profile,
        params: &[(String, Value)],
    ) -> Result<(String, Option<String>), String> {
        let ask = MintRequest {
            now: self.now,
            ttl: self.ttl_seconds,
            identity: self.identity.clone(),
            resource: self.resource.clone(),
            params: params.to_vec(),
            grant: None,
        };
        let Minted { token, id } = selftest::mint(profile, &ask)?;
        Ok((token, id))
    }

    /// The same, decoded as a JWT.
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

/// Header and claims of a token, which must be ASCII.
pub(crate) fn parts(token: &str) -> [Value; 2] {
    let mut parts = token.split('.').map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap());
    [(); 2].map(|()| {
        let part = parts.next().unwrap();
        assert!(part.is_ascii(), "{token}");
        serde_json::from_slice(&part).unwrap()
    })
}

/// A server with these profiles; `SECRET_FILE` in `text` stands for a file with the secret.
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

/// Checks that `grantmint mint` is refused with these arguments and these texts.
pub(crate) async fn assert_refused(serve: &Serve, arguments: &[&str], reported: &[&str]) {
    let ran = run(&[&["mint"], arguments, &["--server", &serve.server]].concat()).await;
    assert_eq!(ran.code, Some(1), "{arguments:?}: {}{}", ran.stdout, ran.stderr);
    for reported in reported {
        assert!(ran.stderr.contains(reported), "{arguments:?}: {reported}: {}", ran.stderr);
    }
}

/// A value as one line of TOML.
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

#[test]
fn vendor_tokens_are_recognized_only_by_their_own_kind() {
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
            // Both of Twilio's kinds are in one file.
            let meant = match kind {
                "twilio" if token.claims["grants"].get("player").is_some() => "twilio-live",
                "twilio" => "twilio-access",
                // That token is for the server's API and names no room.
                "livekit" if token.claims.get("video").is_none() => continue,
                kind => kind,
            };
            assert_eq!(readers, [meant], "{}", vector["id"]);
            read += 1;
        }
        assert!(read >= least, "{kind}: {read}");
    }
}
