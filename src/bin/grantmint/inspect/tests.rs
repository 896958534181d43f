use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    decode::{NotAToken, decode},
    report::Report,
};

const VECTORS: &str = include_str!("../../../../tests/vectors/access_tokens.json");

fn token(claims: &Value) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({"alg": "HS256", "typ": "JWT"})), part(claims))
}

/// What is told of a token at the second 1700000000, as text and as JSON.
fn told(text: &str, show_grant: bool) -> (String, Value) {
    let report = Report::new(&decode(text).unwrap(), 1_700_000_000, show_grant);
    (report.to_string(), serde_json::to_value(&report).unwrap())
}

fn library_token(id: &str) -> String {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let vector = vectors.into_iter().find(|vector| vector["id"] == id).unwrap();
    vector["jwt"].as_str().unwrap().to_owned()
}

#[test]
fn every_librarys_token_is_told() {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let mut tokens = 0;
    for vector in vectors.iter().filter(|vector| vector.get("jwt").is_some()) {
        tokens += 1;
        let token = decode(vector["jwt"].as_str().unwrap()).unwrap();
        assert_eq!(Value::from(token.header.clone()), vector["header"]);
        assert_eq!(Value::from(token.claims.clone()), vector["claims"]);
        let report = Report::new(&token, 1_700_000_000, false).to_string();
        assert!(report.contains("AC0123456789abcdef0123456789abcdef"), "{report}");
        assert!(!report.contains("eyJhbGciOiJFUzM4NCIs"), "{}: {report}", vector["id"]);
    }
    assert_eq!(tokens, 97);
}

#[test]
fn a_token_is_told_in_words() {
    let (text, json) = told(&library_token("multi-grant@twilio-node-6.2.0"), false);
    assert_eq!(
        text,
        "\
type        JWT, twilio-fpa;v=1
algorithm   HS256 (signature not verified)
account     AC0123456789abcdef0123456789abcdef
key         SKfedcba9876543210fedcba9876543210
identity    alice
token id    SKfedcba9876543210fedcba9876543210-1700000000
issued      2023-11-14T22:13:20Z, now
starts      at once
ends        2023-11-15T02:13:20Z, in 4 h
grant       player: host f99084460c35.us-east-1.playback.live-video.net, PlayerStreamer VJa1b2c3d4e5f60718293a4b5c6d7e8f90
            its playback token ends 2023-11-14T22:14:20Z, in 1 min
grant       chat: {\"service_sid\":\"IS11111111111111111111111111111111\"}
grant       data_sync: {\"service_sid\":\"IS22222222222222222222222222222222\"}
grant       video: {\"room\":\"RM33333333333333333333333333333333\"}
dies first  the playback token, 2023-11-14T22:14:20Z, in 1 min
"
    );
    let death = json!({"what": "playback token", "time": "2023-11-14T22:14:20Z", "in_seconds": 60});
    assert_eq!(json["dies_first"], death);
    assert_eq!(json["expire_time"], "2023-11-15T02:13:20Z");
    assert_eq!(json["other_grants"]["video"]["room"], "RM33333333333333333333333333333333");
}

#[test]
fn the_grants_secret_is_shown_only_if_asked_for() {
    let jwt = library_token("basic@twilio-python-9.13.0");
    let (text, json) = told(&jwt, false);
    assert!(!text.contains("token=") && !json.to_string().contains("token="), "{text}{json}");
    let (text, json) = told(&jwt, true);
    assert!(text.contains("m3u8?token=eyJ") && json.to_string().contains("?token=eyJ"), "{text}");
}

#[test]
fn the_token_dies_first_where_it_ends_before_its_grant() {
    let grant = token(&json!({"exp": 1_700_000_060}));
    let player = json!({"playbackUrl": format!("https://h.example/p?x=1&token={grant}")});
    let (text, _) =
        told(&token(&json!({"exp": 1_699_999_988, "grants": {"player": player}})), false);
    assert!(text.ends_with("dies first  the token, 2023-11-14T22:13:08Z, 12 s ago\n"), "{text}");
}

#[test]
fn a_token_that_says_nothing_is_told_as_such() {
    let (text, _) =
        told(&token(&json!({"exp": 1e300, "iat": -1, "grants": {"player": null}})), true);
    assert!(text.contains("ends        not said, or in no form that can be read\n"), "{text}");
    assert!(text.contains("player: host not said, PlayerStreamer not said\n"), "{text}");
    assert!(text.ends_with("dies first  nothing in it says when it ends\n"), "{text}");
    assert!(told(&token(&json!({})), true).0.contains("grant       none\n"));
}

#[test]
fn a_token_cannot_write_to_the_terminal() {
    let claims =
        json!({"sub": "\u{1b}[2J\n\u{202e}", "grants": {"\u{7f}": "\u{9b}", "identity": "é\"\\"}});
    let (text, _) = told(&token(&claims), true);
    assert!(text.contains(r#"identity    é"\"#), "{text}");
    assert!(text.chars().all(|shown| shown == '\n' || !shown.is_control()), "{text:?}");
    assert!(!text.contains('\u{202e}'), "{text:?}");
}

#[test]
fn what_is_no_token_is_refused_with_the_reason() {
    for (text, why) in [
        (" \n", NotAToken::Empty),
        ("alice", NotAToken::Parts(1)),
        ("a.b.c.d.e", NotAToken::Parts(5)),
        ("e30.%.x", NotAToken::NotBase64("payload")),
        ("Bearer e30.e30.x", NotAToken::NotBase64("header")),
        ("W10.e30.x", NotAToken::NotAnObject("header")),
        ("e30.bnVsbA.x", NotAToken::NotAnObject("payload")),
    ] {
        assert_eq!(decode(text).err(), Some(why), "{text}");
    }
    assert!(decode(" e30=.e30.\n").is_ok());
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>(), header in any::<Vec<u8>>(), claims in any::<Vec<u8>>()) {
        let _ = decode(&text);
        let part = |bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes);
        let _ = decode(&format!("{}.{}.", part(header), part(claims)));
    }

    #[test]
    fn no_claims_panic(
        exp in any::<f64>(), iat in any::<i64>(), now in any::<i64>(), url in any::<String>(),
        identity in any::<String>(),
    ) {
        let player = json!({"playbackUrl": url, "playerStreamerSid": identity});
        let claims = json!({
            "exp": exp, "iat": iat, "nbf": url, "sub": identity,
            "grants": {"player": player, "identity": identity, url.clone(): url},
        });
        let report = Report::new(&decode(&token(&claims)).unwrap(), now, true);
        prop_assert!(report.to_string().lines().count() >= 11);
        prop_assert!(serde_json::to_string(&report).is_ok());
    }
}
