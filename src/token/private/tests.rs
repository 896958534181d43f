//! Keys in all supported forms, and texts that are refused.

use std::collections::BTreeMap;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use jsonwebtoken::Algorithm::{self, ES256, ES384, EdDSA, HS256, PS256, RS256, RS384, RS512};

use super::*;
use crate::token::key::JwtKey;

/// Keys in all forms. They belong to no account and protect nothing.
const KEYS: &str = include_str!("../../../tests/vectors/keys.json");

/// Keys in the forms that vendors issue.
const OF_KINDS: &str = include_str!("../../../tests/vectors/kind_keys.json");

fn key(name: &str) -> String {
    let keys: BTreeMap<String, String> = serde_json::from_str(KEYS).unwrap();
    keys.get(name).unwrap_or_else(|| panic!("{name}")).clone()
}

fn of_kind(kind: &str, name: &str) -> String {
    let keys: serde_json::Value = serde_json::from_str(OF_KINDS).unwrap();
    keys[kind][name].as_str().unwrap_or_else(|| panic!("{kind} {name}")).to_owned()
}

/// Asserts that the key is accepted and that `jsonwebtoken` verifies what it signs.
#[track_caller]
fn assert_accepted(text: &str, algorithm: Algorithm) {
    let own =
        JwtKey::parse_private(text, algorithm).unwrap_or_else(|error| panic!("{error}: {text}"));
    let header = format!(r#"{{"alg":"{algorithm:?}"}}"#);
    let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", part(&header), part("{}"));
    let token = format!("{message}.{}", own.sign(message.as_bytes()).unwrap());
    assert!(own.read::<serde_json::Value>(&token).is_some(), "{text}");
    assert!(!format!("{own:?}").contains("MI"), "{own:?}");
}

#[test]
fn pem_key_is_accepted_in_every_form() {
    for (name, algorithm) in [
        ("rsa_pkcs8", RS256),
        ("rsa_pkcs1", RS384),
        ("p256_pkcs8", ES256),
        ("p256_sec1", ES256),
        ("p384_pkcs8", ES384),
        // The curve's parameters precede it, as openssl writes them.
        ("p384_sec1", ES384),
        ("ed25519_pkcs8", EdDSA),
    ] {
        let pem = key(name);
        let base64 = BASE64_STANDARD.encode(&pem);
        let lines = base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap());
        for text in [
            pem.clone(),
            pem.replace('\n', "\r\n"),
            pem.replace('\n', "\\n"),
            pem.replace('\n', "\\r\\n"),
            pem.replace('\n', " "),
            pem.replace('\n', ""),
            pem.replace('\n', "\n    "),
            format!("\u{feff}{pem}"),
            format!("Key of a test\n\n{pem}\nand more"),
            format!("{}{pem}", key("public")),
            format!("{pem}{}", key("certificate")),
            base64.clone(),
            format!("\u{feff}{base64}\n"),
            base64.trim_end_matches('=').to_owned(),
            lines.collect::<Vec<_>>().join("\n"),
        ] {
            assert_accepted(&text, algorithm);
        }
    }
}

#[test]
fn jwk_is_accepted_plain_and_as_base64() {
    for (name, algorithm) in
        [("rsa_jwk", RS256), ("p256_jwk", ES256), ("p384_jwk", ES384), ("ed25519_jwk", EdDSA)]
    {
        let jwk = key(name);
        assert_accepted(&jwk, algorithm);
        assert_accepted(&format!("\u{feff}\n{jwk}\n"), algorithm);
        assert_accepted(&BASE64_STANDARD.encode(&jwk), algorithm);
        assert_accepted(&BASE64_URL_SAFE_NO_PAD.encode(&jwk), algorithm);
    }
}

#[test]
fn keys_are_accepted_as_vendors_issue_them() {
    for (kind, name, algorithm) in [
        ("ivs-playback", "private_key_sec1_pem", ES384),
        ("ivs-stage", "private_key_pkcs8_pem", ES384),
        ("mux", "private_key_base64", RS256),
        ("mux", "private_key_pkcs1_pem", PS256),
        ("cloudflare-stream", "pem_base64", RS512),
        ("cloudflare-stream", "jwk_base64", RS256),
        ("vonage-video", "private_key_pkcs8_pem", RS256),
    ] {
        assert_accepted(&of_kind(kind, name), algorithm);
    }
}

#[test]
fn unusable_keys_are_refused_without_echoing_them() {
    let cut = key("rsa_pkcs8").replace("-----END", "");
    let half: String =
        key("rsa_pkcs8").lines().enumerate().fold(String::new(), |text, (at, line)| {
            if (5..9).contains(&at) { text } else { text + line + "\n" }
        });
    let other = |found, algorithm, needed| KeyError::OtherType { found, algorithm, needed };
    let (rsa, p256, p384) = ("an RSA key", "a key on the curve P-256", "a key on the curve P-384");
    let (other_curve, ed25519) = ("a key on another curve", "an Ed25519 key");
    let of_another_pair = key("p384_jwk").replace("\"d\":\"", "\"d\":\"A");
    for (text, algorithm, error) in [
        (key("encrypted_pkcs8"), RS256, KeyError::Encrypted),
        (key("encrypted_pkcs1"), RS256, KeyError::Encrypted),
        (BASE64_STANDARD.encode(key("encrypted_pkcs8")), RS256, KeyError::Encrypted),
        (key("public"), RS256, KeyError::Public),
        (key("public"), ES256, KeyError::Public),
        (key("p256_public"), ES256, KeyError::Public),
        (key("rsa_public_pkcs1"), RS256, KeyError::Public),
        (key("jwk_public"), ES256, KeyError::Public),
        (key("certificate"), RS256, KeyError::Public),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n".to_owned(), EdDSA, KeyError::OpenSsh),
        (key("p256_sec1"), RS256, other(p256, RS256, rsa)),
        (key("p256_sec1"), ES384, other(p256, ES384, p384)),
        (key("p256_pkcs8"), RS256, other(p256, RS256, rsa)),
        (key("p384_pkcs8"), ES256, other(p384, ES256, p256)),
        (key("p384_jwk"), ES256, other(p384, ES256, p256)),
        (key("p521_pkcs8"), ES384, other(other_curve, ES384, p384)),
        (key("k256_sec1"), ES256, other(other_curve, ES256, p256)),
        (key("rsa_pkcs1"), ES256, other(rsa, ES256, p256)),
        (key("rsa_pkcs8"), EdDSA, other(rsa, EdDSA, ed25519)),
        (key("rsa_jwk"), ES384, other(rsa, ES384, p384)),
        (key("ed25519_pkcs8"), ES256, other(ed25519, ES256, p256)),
        (r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(), RS256, other("a symmetric key", RS256, rsa)),
        (key("rsa_1024"), RS256, KeyError::TooShort),
        (key("rsa_pkcs8") + &key("rsa_pkcs1"), RS256, KeyError::Several),
        (key("p256_pkcs8") + &key("p256_pkcs8_2"), ES256, KeyError::Several),
        (format!(r#"{{"keys":[{}]}}"#, key("rsa_jwk")), RS256, KeyError::Several),
        (of_another_pair, ES384, KeyError::Damaged),
        (half, RS256, KeyError::Damaged),
        (cut, RS256, KeyError::Damaged),
        (key("rsa_pkcs8").replace("MII", "M%I"), RS256, KeyError::Damaged),
        (key("rsa_jwk").replace("\"dp\"", "\"dx\""), RS256, KeyError::Damaged),
        (
            "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----".into(),
            RS256,
            KeyError::OtherPem,
        ),
        (key("rsa_pkcs8"), HS256, KeyError::OtherPem),
        ("{}".to_owned(), RS256, KeyError::NoKey),
        ("{\"kty\":".to_owned(), RS256, KeyError::NoKey),
        (String::new(), RS256, KeyError::NoKey),
        ("no key".to_owned(), RS256, KeyError::NoKey),
        (BASE64_STANDARD.encode("no key"), RS256, KeyError::NoKey),
        (BASE64_STANDARD.encode([0xff; 40]), RS256, KeyError::NoKey),
    ] {
        let refused = PrivateKey::parse(&text, algorithm).unwrap_err();
        assert_eq!(refused, error, "{text}");
        let message = format!("{refused} {refused:?}");
        assert!(text.lines().all(|line| line.len() < 10 || !message.contains(line)), "{message}");
    }
}

#[test]
fn truncated_key_has_no_type() {
    for (name, of_type) in
        [("rsa_pkcs8", Type::Rsa), ("p384_pkcs8", Type::P384), ("ed25519_pkcs8", Type::Ed25519)]
    {
        let Ok(Form::Pkcs8(der)) = form(&key(name)) else { panic!("{name}") };
        assert!((0..der.len()).all(|end| der::type_of_pkcs8(&der[..end]).is_none()), "{name}");
        assert_eq!(der::type_of_pkcs8(&der), Some(of_type), "{name}");
    }
}
