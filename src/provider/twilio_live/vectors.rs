//! The tokens with a player's grant made by Twilio's helper libraries.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{config::KIND, wire};
use crate::{
    name::Identity,
    provider::{
        twilio::{
            MAX_TOKEN_TTL,
            ids::{AccountSid, PlayerStreamerSid},
        },
        vectors::{
            MintRequest, Recorded, Setup, Signed, Token, Vector, VectorError, in_toml, read,
        },
    },
};

const VECTORS: &str = include_str!("../../../tests/vectors/access_tokens.json");

/// The resource of the tokens, stated only in the grant.
const RESOURCE: &str = "VJ0123456789abcdef0123456789abcdef";

/// The player's grant for vectors of other products, where the library needs none.
const GRANT: &str = r#"{"playbackUrl":"https://h.example/p?token=t","playerStreamerSid":"VJ0123456789abcdef0123456789abcdef","requestCredentials":null}"#;

/// The inputs of the libraries.
#[derive(Deserialize)]
struct Inputs {
    account_sid: String,
    signing_key_sid: String,
    secret: String,
    identity: Value,
    /// The identity that replaces the first one.
    identity_after: Option<String>,
    ttl: Option<i64>,
    now: i64,
    valid_until: Option<i64>,
    region: Option<String>,
    algorithm: Option<String>,
    grants: Vec<Map<String, Value>>,
}

pub(super) fn vectors() -> Result<Vec<Vector>, VectorError> {
    read(VECTORS)?.into_iter().map(vector).collect()
}

fn vector(recorded: Recorded<Inputs>) -> Result<Vector, VectorError> {
    let inputs = &recorded.inputs;
    if inputs.algorithm.is_some() {
        return Ok(recorded.skipped("another algorithm than HS256, with which we sign"));
    }
    let player = inputs.grants.iter().find(|grant| is_of(grant, "playback"));
    let grant = match player.map(|grant| grant.get("grant_json").and_then(Value::as_str)) {
        None => GRANT.to_owned(),
        Some(None) => return Ok(recorded.skipped("no grant: never accepted from upstream")),
        Some(Some(grant)) if is_taken(grant)? => grant.to_owned(),
        Some(Some(_)) => {
            return Ok(recorded.skipped("no playback grant: never accepted from upstream"));
        }
    };
    let identity = match (&inputs.identity_after, &inputs.identity) {
        (Some(text), _) | (None, Value::String(text)) => text.clone(),
        (None, Value::Null) => String::new(),
        (None, _) => return Ok(recorded.skipped("an identity that is not a string")),
    };
    let ttl = inputs.valid_until.map(|end| end - inputs.now).or(inputs.ttl).unwrap_or(3_600);
    let request = MintRequest {
        now: inputs.now,
        ttl: Some(ttl),
        identity: Some(identity.clone()),
        grant: Some(grant.clone()),
        ..MintRequest::default()
    };
    let secret = inputs.secret.clone();
    if let Err(error) = Identity::parse(identity) {
        let setup = Setup { profile: profile(inputs, ""), secret, request };
        let why = "an identity that is empty, too long or has control characters";
        let ours_only = (!recorded.is_refused()).then_some(why);
        return Ok(recorded.refused(setup, error.as_str(), ours_only));
    }
    if !(1..=MAX_TOKEN_TTL.as_secs().cast_signed()).contains(&ttl) {
        let profile = profile(inputs, &format!("token_ttl = \"{ttl}s\""));
        let setup = Setup { profile, secret, request };
        return Ok(recorded.refused(
            setup,
            "token_ttl: must be from",
            Some("no life, or over a day"),
        ));
    }
    let mut token = recorded.token(Signed::Secret)?;
    token.random = &["jti"];
    // Python's library adds one unasked.
    let nbf = token.claims.get("nbf").and_then(Value::as_i64);
    let nbf = nbf.map(|nbf| format!("nbf_backdate = \"{}s\"", inputs.now - nbf));
    let setup = Setup { profile: profile(inputs, &nbf.unwrap_or_default()), secret, request };
    adjust(&mut token, &recorded, player.is_none().then_some(GRANT), &grant)?;
    Ok(recorded.minted(vec![setup], token))
}

/// Adds what our tokens have and the library's lacks. `added` is the player's grant, if the library
/// received none.
fn adjust(
    token: &mut Token,
    recorded: &Recorded<Inputs>,
    added: Option<&str>,
    grant: &str,
) -> Result<(), VectorError> {
    if !token.claims.contains_key("iat") {
        token.claims.insert("iat".to_owned(), recorded.inputs.now.into());
        token.adjusted = Some("no iat, which ours always have");
    }
    let is_rounded = recorded.id.starts_with("grant-unknown-fields@twilio-node");
    if (is_rounded || added.is_some())
        && let Some(Value::Object(grants)) = token.claims.get_mut("grants")
    {
        grants.insert("player".to_owned(), serde_json::from_str(grant)?);
        token.adjusted = Some(if is_rounded {
            "numbers that JavaScript rounds, which ours keep"
        } else {
            "no player's grant, which ours always have"
        });
    }
    Ok(())
}

fn is_of(grant: &Map<String, Value>, product: &str) -> bool {
    grant.get("type").is_some_and(|it| it == product)
}

/// A profile with these lines.
fn profile(inputs: &Inputs, lines: &str) -> String {
    let Inputs { account_sid, signing_key_sid, region, grants, .. } = inputs;
    let grants = grants.iter().filter(|grant| !is_of(grant, "playback")).map(product);
    let grants = in_toml(&grants.collect::<Map<_, _>>().into());
    let region = region.as_ref().map(|it| format!("region = \"{it}\"")).unwrap_or_default();
    format!(
        "[profiles.live]\nkind = \"{KIND}\"\naccount_sid = \"{account_sid}\"\n\
         api_key_sid = \"{signing_key_sid}\"\napi_key_secret_env = \"SECRET\"\n\
         resources = [\"{RESOURCE}\"]\ngrants = {grants}\n{region}\n{lines}\n"
    )
}

/// A product's grant as written in a profile.
fn product(grant: &Map<String, Value>) -> (String, Value) {
    let mut grant = grant.clone();
    let product = grant.remove("type").and_then(|it| it.as_str().map(str::to_owned));
    let product = product.unwrap_or_default();
    match &*product {
        "sync" => ("data_sync".to_owned(), grant.into()),
        "voice" => {
            if let Some(allow) = grant.remove("incoming_allow") {
                grant.insert("incoming".to_owned(), json!({"allow": allow}));
            }
            if let Some(application) = grant.remove("outgoing_application_sid") {
                let params = grant.remove("outgoing_application_params");
                let outgoing = json!({"application_sid": application, "params": params});
                grant.insert("outgoing".to_owned(), outgoing);
            }
            (product, grant.into())
        }
        _ => (product, grant.into()),
    }
}

/// Whether a response with this grant would be accepted from the upstream. Some vectors have
/// malformed SIDs, so they are replaced.
fn is_taken(grant: &str) -> Result<bool, VectorError> {
    let mut grant: Value = serde_json::from_str(grant)?;
    if let Some(sid) = grant.get_mut("playerStreamerSid") {
        *sid = RESOURCE.into();
    }
    let answer = format!(r#"{{"grant":{grant}}}"#);
    let account = AccountSid::parse("AC0123456789abcdef0123456789abcdef");
    let (Ok(account), Ok(streamer)) = (account, PlayerStreamerSid::parse(RESOURCE)) else {
        return Err(VectorError::Missing("a SID"));
    };
    Ok(wire::read_answer(answer.as_bytes(), &account, &streamer).is_ok())
}
