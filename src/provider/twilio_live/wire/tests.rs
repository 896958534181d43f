//! All known responses of the upstream, accepted or refused as expected.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ANSWERS: &str = include_str!("../../../../tests/vectors/playback_grant_responses.json");
const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const STREAMER: &str = "VJa1b2c3d4e5f60718293a4b5c6d7e8f90";

fn read(body: &[u8], account: &str, streamer: &str) -> Result<Answered, Fault> {
    let account = AccountSid::parse(account).unwrap();
    read_answer(body, &account, &PlayerStreamerSid::parse(streamer).unwrap())
}

fn answer(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut answer = json!({
        "sid": STREAMER,
        "account_sid": ACCOUNT,
        "grant": {"playbackUrl": "https://h.example/p?token=t", "playerStreamerSid": STREAMER},
    });
    change(&mut answer);
    answer.to_string().into_bytes()
}

fn reason(body: &[u8]) -> String {
    read(body, ACCOUNT, STREAMER).map_or_else(|fault| fault.to_string(), |_| "taken".to_owned())
}

/// A playback URL with a token that has this payload.
fn url(payload: &[u8]) -> String {
    format!("https://h.example/p?a=b&token=e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(payload))
}

#[test]
fn every_known_response_is_accepted_or_refused() {
    #[derive(Deserialize)]
    struct Known {
        name: String,
        status: u16,
        body: Box<RawValue>,
    }

    const MALFORMED: &str = "MALFORMED_ANSWER (transient)";
    let known: Vec<Known> = serde_json::from_str(ANSWERS).unwrap();
    let mut outcomes = Vec::new();
    for Known { name, body, .. } in known.iter().filter(|known| known.status / 100 == 2) {
        // A body that is not JSON is stored as a string.
        let text = serde_json::from_str(body.get()).unwrap_or_else(|_| body.get().to_owned());
        let (account, streamer) = if name.ends_with("spec_example") {
            (format!("AC{}", "a".repeat(32)), "VJcafebabecafebabecafebabecafebabe")
        } else {
            (ACCOUNT.to_owned(), STREAMER)
        };
        let outcome = match read(text.as_bytes(), &account, streamer) {
            Ok(answered) => {
                assert!(text.contains(answered.content.as_str()), "{name}");
                assert_eq!(answered.life, None, "{name}: its token has no iat");
                "taken".to_owned()
            }
            Err(fault) => fault.to_string(),
        };
        outcomes.push((name.as_str(), outcome));
    }
    let outcomes: Vec<_> = outcomes.iter().map(|(name, outcome)| (*name, &**outcome)).collect();
    assert_eq!(
        outcomes,
        [
            ("create_spec_example", "taken"),
            ("create_realistic", "taken"),
            ("create_request_credentials_include", "taken"),
            ("create_unknown_fields", "taken"),
            ("create_as_printed_in_the_guide", MALFORMED),
            ("create_grant_null", MALFORMED),
            ("fetch_spec_example", "taken"),
            ("truncated_json", MALFORMED),
        ]
    );
}

#[test]
fn grant_is_raw_and_sids_match_in_any_hex_case() {
    let body = br#"{"sid":null,"grant":{ "x":9007199254740993,"y":1.0,"playbackUrl":"u","playerStreamerSid":"VJA1B2C3D4E5F60718293A4B5C6D7E8F90"}}"#;
    let answered = read(body, ACCOUNT, STREAMER).unwrap();
    assert!(answered.content.as_str().starts_with(r#"{ "x":9007199254740993,"y":1.0,"#));
    assert_eq!(answered.life, None);
}

#[test]
fn grants_mark_is_its_playback_token_from_any_url() {
    let mark = |url: &str| {
        let body = answer(|answer| answer["grant"]["playbackUrl"] = url.into());
        read(&body, ACCOUNT, STREAMER).unwrap().mark
    };
    assert_eq!(mark("https://a.example/p?token=t&x=1"), mark("https://b.example/q?y=2&token=t"));
    assert_ne!(mark("https://a.example/p?token=t"), mark("https://a.example/p?token=u"));
    assert_ne!(mark("https://a.example/p"), mark("https://a.example/q"));
    assert_eq!(mark(&url(br#"{"exp":1700000030.5}"#)).expires, Some(1_700_000_030.5));
    assert_eq!(mark(&url(br#"{"iat":1700000030}"#)).expires, None);
}

#[test]
fn grant_of_another_resource_is_refused() {
    let other = "0".repeat(32);
    assert_eq!(reason(&answer(|_| ())), "taken");
    for pointer in ["/sid", "/grant/playerStreamerSid"] {
        let body =
            answer(|answer| *answer.pointer_mut(pointer).unwrap() = format!("VJ{other}").into());
        assert_eq!(reason(&body), "GRANT_OF_ANOTHER_RESOURCE (misconfigured)", "{pointer}");
    }
    let body = answer(|answer| answer["account_sid"] = format!("AC{other}").into());
    assert_eq!(reason(&body), "GRANT_OF_ANOTHER_ACCOUNT (misconfigured)");
}

#[test]
fn invalid_grant_is_refused() {
    let no_grants = [
        json!(null),
        json!("{}"),
        json!({}),
        json!(["https://h.example", STREAMER]),
        json!({"playbackUrl": "", "playerStreamerSid": STREAMER}),
        json!({"playbackUrl": "u", "playerStreamerSid": ""}),
        json!({"playbackUrl": null, "playerStreamerSid": STREAMER}),
        json!({"playbackUrl": "u"}),
    ];
    for grant in no_grants {
        let body = answer(|answer| answer["grant"] = grant.clone());
        assert_eq!(reason(&body), "MALFORMED_ANSWER (transient)", "{grant}");
    }
    for body in ["", "[]", "null", "<html>", "\u{feff}{}"] {
        assert_eq!(reason(body.as_bytes()), "MALFORMED_ANSWER (transient)", "{body}");
    }
}

fn playback_token_life(url: &str) -> Option<u64> {
    PlaybackTimes::in_url(url).and_then(PlaybackTimes::life)
}

#[test]
fn playback_token_life_needs_both_times() {
    let life = |claims: Value| playback_token_life(&url(claims.to_string().as_bytes()));
    assert_eq!(life(json!({"iat": 1_700_000_000, "exp": 1_700_000_030})), Some(30));
    assert_eq!(life(json!({"iat": 1_700_000_000.25, "exp": 1_700_000_030.0})), Some(29));
    assert_eq!(life(json!({"iat": 1_700_000_030, "exp": 1_700_000_000})), Some(0));
    assert_eq!(life(json!({"exp": 1_700_000_030})), None);
    assert_eq!(life(json!({"iat": null, "exp": 1_700_000_030})), None);
    assert_eq!(life(json!({"iat": "1", "exp": "2"})), None);
}

proptest! {
    #[test]
    fn life_is_exp_minus_iat(iat in 0_u32.., exp in 0_u32..) {
        let claims = json!({"iat": iat, "exp": exp}).to_string();
        let life = playback_token_life(&url(claims.as_bytes()));
        prop_assert_eq!(life, Some(exp.saturating_sub(iat).into()));
    }

    #[test]
    fn no_url_panics(text in any::<String>(), bytes in any::<Vec<u8>>(), iat: f64, exp: f64) {
        playback_token_life(&text);
        playback_token_life(&format!("?token={text}"));
        playback_token_life(&format!("?token=.{text}."));
        playback_token_life(&url(&bytes));
        playback_token_life(&url(json!({"iat": iat, "exp": exp}).to_string().as_bytes()));
    }

    #[test]
    fn no_body_panics(body in any::<Vec<u8>>(), text in any::<String>()) {
        let _ = reason(&body);
        let _ = reason(&answer(|answer| answer["grant"] = Value::from(text.as_str())));
        let _ = reason(&answer(|answer| answer["grant"]["playbackUrl"] = text.into()));
    }
}

#[test]
fn grant_size_and_depth_are_limited() {
    let with = |extra: Value| answer(|answer| answer["grant"]["x"] = extra);
    let nested = |depth: usize| {
        let text = "[".repeat(depth) + &"]".repeat(depth);
        let whole = String::from_utf8(with(json!("HERE"))).unwrap();
        whole.replace("\"HERE\"", &text).into_bytes()
    };
    assert_eq!(reason(&nested(120)), "taken");
    for depth in [128, 5_000] {
        assert_eq!(reason(&nested(depth)), "MALFORMED_ANSWER (transient)", "{depth}");
    }
    // Brackets in a string do not nest.
    assert_eq!(reason(&with(json!("[{\"\\".repeat(300)))), "taken");

    let grant = |length: usize| {
        let short = with(json!(""));
        let short: Value = serde_json::from_slice(&short).unwrap();
        with("x".repeat(length - short["grant"].to_string().len()).into())
    };
    assert_eq!(reason(&grant(MAX_GRANT_BYTES)), "taken");
    assert_eq!(reason(&grant(MAX_GRANT_BYTES + 1)), "MALFORMED_ANSWER (transient)");
}
