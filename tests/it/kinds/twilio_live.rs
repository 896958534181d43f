//! Twilio Live's tokens: ours compared with those that Twilio's helper libraries made with the same
//! grants.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use grantmint::{
    app::selftest::{self, Minted},
    provider::vectors::{Case, Setup},
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
        ("an identity that is not a string", 4),
        ("another algorithm than HS256, with which we sign", 3),
        ("no grant: never accepted from upstream", 4),
        ("no life, or over a day", 4),
        ("no playback grant: never accepted from upstream", 4),
    ];
    assert_vectors(KIND, 28, &others);
}

/// The setups of the vectors whose tokens we make.
fn setups() -> impl Iterator<Item = Setup> {
    vectors(KIND).into_iter().flat_map(|vector| match vector.case {
        Case::Minted { setups, .. } => setups,
        _ => Vec::new(),
    })
}

fn mint(setup: &Setup) -> Result<Minted, String> {
    selftest::mint(&selftest::profile(&setup.profile, &setup.secret).unwrap(), &setup.request)
}

/// A token's claims as raw text.
fn payload(minted: &Minted) -> String {
    let payload = minted.token.split('.').nth(1).unwrap();
    String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[test]
fn tokens_contain_the_grant_unchanged_and_a_dated_id() {
    let mut tried = 0;
    for setup in setups() {
        let (minted, grant) = (mint(&setup).unwrap(), setup.request.grant.unwrap());
        let payload = payload(&minted);
        assert!(payload.contains(&format!(r#""player":{grant},"#)), "{payload}");
        let id = minted.id.unwrap();
        let (prefix, serial) = id.split_at(id.len() - SERIAL_CHARS);
        let key = "SKfedcba9876543210fedcba9876543210";
        assert_eq!(prefix, format!("{key}-{:010}-", setup.request.now));
        assert!(serial.bytes().all(|byte| byte == b'A'), "{serial}");
        tried += 1;
    }
    assert_eq!(tried, 66);
}

#[test]
fn numbers_nulls_and_order_of_a_grant_survive() {
    let grant = r#"{"z": null,"playerStreamerSid":"VJ","a":1.0,"big":9007199254740993,"tiny":1e-400,"playbackUrl":"https:\/\/é\u00e9"}"#;
    let mut setup = setups().next().unwrap();
    setup.request.grant = Some(grant.to_owned());
    let payload = payload(&mint(&setup).unwrap());
    assert!(payload.contains(&format!(r#""player":{grant},"#)), "{payload}");
}

#[test]
fn non_json_grant_is_never_put_into_a_token() {
    let mut setup = setups().next().unwrap();
    assert_eq!(parts(&mint(&setup).unwrap().token)[1]["grants"]["identity"], "alice");
    for text in ["", "bearer", "{", r#"{},"identity":"admin""#, r#"{}},"sub":"AC""#, "{}{}"] {
        setup.request.grant = Some(text.to_owned());
        let refused = mint(&setup).err();
        let reported = "the grant does not have the form that its tokens require";
        assert_eq!(refused.as_deref(), Some(reported), "{text}");
    }
}
