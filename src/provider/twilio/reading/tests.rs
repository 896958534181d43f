//! Reads the tokens made by Twilio's helper libraries.

use serde_json::json;

use super::*;
use crate::{
    clock::WallTime,
    reading::{Key, Signature, unsigned},
    settings::SigningSecret,
};

const VECTORS: &str = include_str!("../../../../tests/vectors/access_tokens.json");

/// The tokens of the helper libraries, by case name.
pub(super) fn vectors() -> Vec<(String, String)> {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let named = vectors.iter().filter_map(|vector| {
        let text = |key: &str| Some(vector[key].as_str()?.to_owned());
        Some((text("id")?, text("jwt")?))
    });
    named.collect()
}

/// Describes a token at this Unix second, with its secrets masked.
pub(super) fn read_at(token: &Jwt, now: i64) -> Option<Reading> {
    let now = WallTime::from_unix_seconds(now);
    Some(read(token, View { now, mask: Some("(hidden)") })?.complete(token, now))
}

fn lines(reading: &Reading) -> Vec<(&'static str, &str)> {
    reading.lines.iter().map(|line| (line.label, line.text.as_str())).collect()
}

#[test]
fn token_is_described_by_lines_and_expiries() {
    let token = Jwt::decode(&vectors()[0].1).unwrap();
    let reading = read_at(&token, 1_700_000_000).unwrap();
    let host = "f99084460c35.us-east-1.playback.live-video.net";
    let url = format!(
        "https://{host}/api/video/v1/us-east-1.123456789012.channel.AbCdEfGhIjKl.m3u8?(hidden)"
    );
    let player = format!("the player of VJa1b2c3d4e5f60718293a4b5c6d7e8f90, at {host}");
    assert_eq!(
        lines(&reading),
        [
            ("identity", "alice"),
            ("for", &player),
            ("playback", &url),
            ("account", "AC0123456789abcdef0123456789abcdef"),
            ("key", "SKfedcba9876543210fedcba9876543210"),
            ("token id", "SKfedcba9876543210fedcba9876543210-1700000000"),
        ]
    );
    let ends: Vec<_> = reading.ends.iter().map(|end| (end.name, end.at)).collect();
    assert_eq!(ends, [("player_grant", 1_700_000_060), ("token", 1_700_003_600)]);
}

#[test]
fn tokens_of_every_library_and_product_are_read() {
    let vectors = vectors();
    assert!(vectors.len() > 80);
    for (id, jwt) in vectors {
        let reading = read_at(&Jwt::decode(&jwt).unwrap(), 1_700_000_005);
        let reading = reading.unwrap_or_else(|| panic!("{id} is not read"));
        let labels: Vec<_> = reading.lines.iter().map(|line| line.label).collect();
        for label in ["identity", "for", "account", "key"] {
            assert!(labels.contains(&label), "{id}: {labels:?}");
        }
        assert!(!reading.ends.is_empty(), "{id}");
    }
}

#[test]
fn grant_secret_is_masked_unless_requested() {
    let mut masked = 0;
    for (id, jwt) in vectors() {
        let token = Jwt::decode(&jwt).unwrap();
        let reading = read_at(&token, 1_700_000_005).unwrap();
        let described = format!("{:?} {:?}", lines(&reading), reading.claims);
        assert!(!described.contains("token="), "{id}: {described}");
        masked += usize::from(described.contains("(hidden)"));
        let view = View { now: WallTime::from_unix_seconds(0), mask: None };
        assert_eq!(read(&token, view).unwrap().claims, token.claims, "{id}");
    }
    assert!(masked > 80);
}

#[test]
fn region_of_a_key_is_described() {
    let claims = json!({"grants": {}});
    let region = |twr: &Value| {
        let token = unsigned(&json!({"alg": "HS256", "twr": twr}), &claims);
        let reading = read_at(&token, 0).unwrap();
        let line = reading.lines.into_iter().find(|line| line.label == "region");
        line.map(|line| line.text)
    };
    assert_eq!(region(&json!("ie1")), Some("ie1".to_owned()));
    assert_eq!(region(&json!(null)), None);
}

#[test]
fn content_type_or_grants_identify_twilio_tokens() {
    let claims = json!({"sub": "alice", "iat": 1_700_000_000, "exp": 1_700_000_060});
    for (header, claims, is_read) in [
        (json!({"cty": "twilio-fpa;v=1"}), claims.clone(), true),
        (json!({}), json!({"grants": {}}), true),
        (json!({"cty": "stringee-api;v=1"}), json!({"grants": {}}), true),
        (json!({"cty": "stringee-api;v=1"}), claims.clone(), false),
        (json!({"typ": "JWT"}), json!({"grants": ["read"]}), false),
        (json!({"typ": "JWT"}), claims, false),
    ] {
        let token = unsigned(&header, &claims);
        assert_eq!(read_at(&token, 0).is_some(), is_read, "{header} {claims}");
    }
}

#[test]
fn signatures_verify_only_with_their_secret() {
    let [own, other] = ["q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC", "q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxD"]
        .map(|secret| Key::Secret(SigningSecret::parse(secret).unwrap()));
    for (id, jwt) in vectors() {
        let token = Jwt::decode(&jwt).unwrap();
        assert_eq!(token.check(Some(&own)), Signature::Valid, "{id}");
        assert_eq!(token.check(Some(&other)), Signature::Invalid, "{id}");
    }
}
