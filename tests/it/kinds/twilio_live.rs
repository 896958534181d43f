//! Twilio Live's tokens: ours compared with those that Twilio's helper libraries made with the same
//! grants.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use grantmint::{
    app::selftest::{self, Minted},
    provider::vectors::{Case, Way},
    token::id::SERIAL_CHARS,
};

use super::{assert_vectors, parts, vectors};

const KIND: &str = "twilio-live";

#[test]
fn our_tokens_equal_the_libraries_tokens() {
    let others = [
        ("refused", 2),
        ("no iat, which ours always have", 31),
        ("no player's grant, which ours always have", 6),
        ("numbers that JavaScript rounds, which ours keep", 1),
        ("an identity that is empty, too long or has control characters", 13),
        ("an identity that is no text", 4),
        ("another algorithm than HS256, with which we sign", 3),
        ("no grant: never taken from upstream", 4),
        ("no life, or over a day", 4),
        ("no playback grant: never taken from upstream", 4),
    ];
    assert_vectors(KIND, 28, &others);
}

/// The vectors that we make too.
fn ways() -> impl Iterator<Item = Way> {
    vectors(KIND).into_iter().flat_map(|vector| match vector.case {
        Case::Minted { ways, .. } => ways,
        _ => Vec::new(),
    })
}

fn mint(way: &Way) -> Result<Minted, String> {
    selftest::mint(&selftest::profile(&way.profile, &way.secret).unwrap(), &way.ask)
}

/// A token's claims as raw text.
fn payload(minted: &Minted) -> String {
    let payload = minted.token.split('.').nth(1).unwrap();
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn tokens_contain_the_grant_unchanged_and_a_dated_id() {
    let mut tried = 0;
    for way in ways() {
        let (minted, grant) = (mint(&way).unwrap(), way.ask.grant.unwrap());
        let payload = payload(&minted);
        assert!(payload.contains(&format!(r#""player":{grant},"#)), "{payload}");
        let id = minted.id.unwrap();
        let (prefix, serial) = id.split_at(id.len() - SERIAL_CHARS);
        let key = "SKfedcba9876543210fedcba9876543210";
        assert_eq!(prefix, format!("{key}-{:010}-", way.ask.now));
        assert!(serial.bytes().all(|byte| byte == b'A'), "{serial}");
        tried += 1;
    }
    assert_eq!(tried, 66);
}

#[test]
fn numbers_nulls_and_order_of_a_grant_survive() {
    let grant = r#"{"z": null,"playerStreamerSid":"VJ","a":1.0,"big":9007199254740993,"tiny":1e-400,"playbackUrl":"https:\/\/é\u00e9"}"#;
    let mut way = ways().next().unwrap();
    way.ask.grant = Some(grant.to_owned());
    let payload = payload(&mint(&way).unwrap());
    assert!(payload.contains(&format!(r#""player":{grant},"#)), "{payload}");
}

#[test]
fn non_json_grant_is_never_put_into_a_token() {
    let mut way = ways().next().unwrap();
    assert_eq!(parts(&mint(&way).unwrap().token)[1]["grants"]["identity"], "alice");
    for text in ["", "bearer", "{", r#"{},"identity":"admin""#, r#"{}},"sub":"AC""#, "{}{}"] {
        way.ask.grant = Some(text.to_owned());
        let refused = mint(&way).err();
        let reported = "the grant is not of the form that its tokens hold";
        assert_eq!(refused.as_deref(), Some(reported), "{text}");
    }
}
