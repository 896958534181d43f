//! The table `assertion`: the JWT that proves who asks.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Alg, Assertion, Secret, SecretKeys, told};
use crate::{
    provider::forward::{assertion::Claim, secret::shown as where_it_is},
    settings::{Section, shown},
};

/// The keys of the private key.
pub(super) const PRIVATE_KEY: SecretKeys =
    SecretKeys { file: "private_key_file", env: "private_key_env", value: "private_key" };

/// The life of an assertion that the profile gives none: it is used at once.
const USUAL_LIFE: Duration = Duration::from_secs(5 * 60);

const MAX_LIFE: Duration = Duration::from_secs(60 * 60);

/// Reads the algorithm, which says where the key is.
pub(super) fn read_alg(signed: &mut Section<'_>) -> Option<Alg> {
    signed.required("alg", Alg::parse)
}

/// Reads the rest of the table, and the key beside it.
pub(super) fn read(
    section: &mut Section<'_>,
    mut signed: Section<'_>,
    alg: Alg,
    secret: Option<&Secret>,
    told_keys: &mut Vec<(&'static str, Value)>,
) -> Option<Assertion> {
    let least = Duration::from_secs(10);
    let ttl = signed.duration_within("ttl", USUAL_LIFE, least..=MAX_LIFE);
    let header: Option<Map<String, Value>> =
        if signed.has("header") { signed.deserialized("header") } else { Some(Map::new()) };
    let claims: Option<Map<String, Value>> = if signed.has("claims") {
        signed.deserialized("claims")
    } else {
        signed.problem("claims", "is missing: an assertion says who asks, and until when");
        None
    };
    let claims = claims.and_then(|claims| told(&signed, "claims", parse_claims(claims)));
    signed.finish();
    let key = match (alg, secret) {
        (Alg::Hs256, Some(secret)) => alg.key(secret.expose()).ok(),
        (Alg::Hs256, None) => None,
        _ => section.secret(PRIVATE_KEY, |text| alg.key(text)).map(|(key, origin)| {
            told_keys.push((PRIVATE_KEY.value, where_it_is(&origin)));
            key
        }),
    };
    let (header, claims, ttl, key) = (header?, claims?, ttl?, key?);
    told_keys.push(("assertion", json!(format!("{}, for {}", alg.name(), shown(ttl)))));
    told(section, "assertion", Assertion::new(alg, header, claims, ttl, key))
}

fn parse_claims(claims: Map<String, Value>) -> Result<Vec<(String, Claim)>, String> {
    let claim = |(name, value): (String, Value)| {
        let claim = parse_claim(value).map_err(|error| format!("{}: {error}", name.escape_debug()));
        Ok((name, claim?))
    };
    claims.into_iter().map(claim).collect()
}

/// A constant, or where the value comes from.
fn parse_claim(value: Value) -> Result<Claim, String> {
    const SOURCES: &str =
        r#"is from none of "now" (with back = "60s", if wanted), "exp", "uuid" and "resource""#;
    let Some(from) = value.get("from") else { return Ok(Claim::Constant(value)) };
    let others = value.as_object().into_iter().flat_map(Map::keys);
    let back = value.get("back").map(|back| {
        let back = back.as_str().and_then(|text| humantime::parse_duration(text).ok());
        back.filter(|back| *back <= MAX_LIFE).ok_or(r#"has a back that is no duration like "60s""#)
    });
    let back = back.transpose()?;
    let claim = match (from.as_str(), back) {
        (Some("now"), back) => Claim::Now { back: back.unwrap_or_default() },
        (Some("exp"), None) => Claim::Exp,
        (Some("uuid"), None) => Claim::Uuid,
        (Some("resource"), None) => Claim::Resource,
        _ => return Err(SOURCES.to_owned()),
    };
    if others.into_iter().any(|name| !matches!(name.as_str(), "from" | "back")) {
        return Err(SOURCES.to_owned());
    }
    Ok(claim)
}
