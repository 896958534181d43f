//! The warnings one by one, and for the tokens of Twilio's helper libraries.

use serde_json::json;

use super::{
    super::tests::{read_at, vectors},
    *,
};
use crate::reading::unsigned;

const NOW: i64 = 1_700_000_010;

/// All warnings except that for the signature, which these tokens lack.
fn warnings(token: &Jwt) -> Vec<(&'static str, String)> {
    let reading = read_at(token, NOW).unwrap();
    let found = reading.warnings.into_iter().filter(|warning| warning.about != "signature");
    found.map(|warning| (warning.about, warning.message)).collect()
}

fn good() -> (Value, Value) {
    let header = json!({"alg": "HS256", "typ": "JWT", "cty": CONTENT_TYPE, "twr": null});
    let claims = json!({
        "iss": "SK0123456789abcdef0123456789abcdef",
        "sub": "AC0123456789abcdef0123456789abcdef",
        "jti": "SK0123456789abcdef0123456789abcdef-1700000000-0123abcd",
        "iat": 1_700_000_000,
        "exp": 1_700_000_060,
        "grants": {
            "identity": "alice",
            "player": {
                "playbackUrl": "https://x.live-video.net/v1?player_version=1",
                "playerStreamerSid": "VJ0123456789abcdef0123456789abcdef",
                "requestCredentials": null,
            },
        },
    });
    (header, claims)
}

/// The warnings after one member of a valid token is replaced or, with `None`, removed.
fn warnings_with(pointer: &str, value: Option<Value>) -> Vec<(&'static str, String)> {
    let (header, claims) = good();
    let mut parts = json!({"header": header, "claims": claims});
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = parts.pointer_mut(parent).unwrap().as_object_mut().unwrap();
    match value {
        Some(value) => parent.insert(name.to_owned(), value),
        None => parent.remove(name),
    };
    warnings(&unsigned(&parts["header"], &parts["claims"]))
}

#[test]
fn good_token_has_no_warnings() {
    let (header, claims) = good();
    assert_eq!(warnings(&unsigned(&header, &claims)), []);
}

#[test]
fn each_mistake_is_reported() {
    let player = "/claims/grants/player";
    for (pointer, value, about, expected) in [
        ("/header/alg", Some(json!("none")), "alg", "not signed"),
        ("/header/alg", None, "alg", "not signed"),
        ("/header/alg", Some(json!("HS512")), "alg", "only HS256"),
        ("/header/typ", None, "typ", "20102"),
        ("/header/cty", None, "cty", "missing"),
        ("/header/cty", Some(json!("stringee-api;v=1")), "cty", "another issuer's"),
        ("/claims/iss", Some(json!("AC0123456789abcdef0123456789abcdef")), "iss", "20103"),
        ("/claims/sub", None, "sub", "20103"),
        ("/claims/jti", None, "jti", "missing"),
        (
            "/claims/jti",
            Some(json!("SK0123456789abcdef0123456789abcdef-1700000000")),
            "jti",
            "share it",
        ),
        ("/claims/grants/identity", None, "identity", "missing"),
        ("/claims/grants/identity", Some(json!("")), "identity", "empty"),
        ("/claims/grants/identity", Some(json!(12_345)), "identity", "not a string"),
        ("/claims/grants/video", Some(json!({})), "video", "any room"),
        (player, Some(json!("{}")), "player", "is a string"),
        (player, Some(json!(null)), "player", "not an object"),
        ("/claims/grants/player/playbackUrl", None, "player", "no playbackUrl"),
        (
            "/claims/grants/player/playerStreamerSid",
            Some(json!("")),
            "player",
            "no playerStreamerSid",
        ),
        (
            "/claims/grants/player/requestCredentials",
            Some(json!("")),
            "player",
            "requestCredentials",
        ),
        (player, None, "grants", "grants nothing"),
        ("/claims/iat", None, "iat", "missing"),
        ("/claims/iat", Some(json!(NOW + 30)), "iat", "30 s ahead"),
        ("/claims/nbf", Some(json!(NOW + 30)), "nbf", "30 s ahead"),
        ("/claims/nbf", Some(json!(1_700_000_000)), "nbf", "the second of its issue"),
        ("/claims/exp", None, "exp", "missing"),
        ("/claims/exp", Some(json!("soon")), "exp", "not a number"),
        ("/claims/exp", Some(json!(1_700_000_000)), "exp", "never valid"),
        ("/claims/exp", Some(json!(1_700_086_401)), "exp", "over 24 h"),
    ] {
        let warnings = warnings_with(pointer, value);
        let [(one, message)] = &warnings[..] else { panic!("{pointer}: {warnings:?}") };
        assert!(*one == about && message.contains(expected), "{pointer}: {warnings:?}");
    }
    // A minute before the issue, and exactly one day, are valid.
    assert_eq!(warnings_with("/claims/nbf", Some(json!(1_699_999_940))), []);
    assert_eq!(warnings_with("/claims/exp", Some(json!(1_700_086_400))), []);
}

#[test]
fn other_products_have_their_own_rules() {
    let with = |product: &str, identity: String| {
        let (header, mut claims) = good();
        claims["grants"] = json!({product: {"room": "a"}, "identity": identity});
        warnings(&unsigned(&header, &claims))
    };
    assert_eq!(with("voice", "alice_1".to_owned()), []);
    assert_eq!(with("voice", "alice@example.com".to_owned()).len(), 1);
    assert_eq!(with("video", "u".repeat(128)), []);
    assert_eq!(with("video", "u".repeat(129)).len(), 1);
}

#[test]
fn mistakes_are_found_in_the_libraries_tokens() {
    let vectors = vectors();
    let warnings_in = |id: &str| {
        let (_, jwt) = vectors.iter().find(|(name, _)| name == id).unwrap();
        warnings(&Jwt::decode(jwt).unwrap())
    };
    for (id, about, expected) in [
        ("basic@twilio-python-9.13.0", "jti", "share it"),
        ("basic@twilio-python-9.13.0", "iat", "missing"),
        ("basic@twilio-python-9.13.0", "nbf", "the second of its issue"),
        ("basic@twilio-python-9.13.0", "exp", "59 min after the player's grant expires"),
        ("ttl-86401@twilio-node-6.2.0", "exp", "over 24 h"),
        ("ttl-0@twilio-python-9.13.0", "exp", "never valid"),
        ("grant-string-legacy@twilio-node-6.2.0", "player", "is a string"),
        ("grant-null@twilio-python-7.16.5", "player", "not an object"),
        ("grant-null@twilio-node-6.2.0", "player", "no playbackUrl"),
        ("no-grants@twilio-node-6.2.0", "grants", "grants nothing"),
        ("node-alg-HS384@twilio-node-6.2.0", "alg", "only HS256"),
        ("id-none@twilio-python-9.13.0", "identity", "missing"),
        ("id-int@twilio-python-9.13.0", "identity", "not a string"),
        ("now-2038@twilio-node-6.2.0", "iat", "ahead"),
        ("now-2038@twilio-node-6.2.0", "jti", "in the future"),
    ] {
        let warnings = warnings_in(id);
        let found =
            warnings.iter().any(|(one, message)| *one == about && message.contains(expected));
        assert!(found, "{id}: {about} {expected}: {warnings:?}");
    }
}
