//! Keys in all their forms, and what is none.

use std::collections::BTreeMap;

use super::*;

/// Keys in all forms. They belong to no account and protect nothing.
const KEYS: &str = include_str!("../../../../tests/vectors/keys.json");

fn key(name: &str) -> String {
    let keys: BTreeMap<String, String> = serde_json::from_str(KEYS).unwrap();
    keys.get(name).unwrap_or_else(|| panic!("{name}")).clone()
}

/// That the key is taken, and its own signature verifies.
fn is_taken(text: &str, algorithm: Algorithm) {
    let own = parse(text, algorithm).unwrap_or_else(|error| panic!("{error}: {text}"));
    let header = format!(r#"{{"alg":"{algorithm:?}"}}"#);
    let part = |text: &str| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", part(&header), part("{}"));
    let token = format!("{message}.{}", own.sign(message.as_bytes()).unwrap());
    assert!(own.read::<serde_json::Value>(&token).is_some(), "{text}");
}

#[test]
fn a_key_is_taken_in_all_its_forms() {
    for (name, algorithm) in [
        ("rsa_pkcs8", Algorithm::RS256),
        ("rsa_pkcs1", Algorithm::RS256),
        ("p256_pkcs8", Algorithm::ES256),
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
            base64.clone(),
            format!("\u{feff}{base64}\n"),
            lines.collect::<Vec<_>>().join("\n"),
        ] {
            is_taken(&text, algorithm);
        }
    }
}

#[test]
fn what_is_no_key_of_the_algorithm_is_refused_without_an_echo() {
    let (rs256, es256) = (Algorithm::RS256, Algorithm::ES256);
    let cut = key("rsa_pkcs8").replace("-----END", "");
    let half: String =
        key("rsa_pkcs8").lines().enumerate().fold(String::new(), |text, (at, line)| {
            if (5..9).contains(&at) { text } else { text + line + "\n" }
        });
    for (text, algorithm, error) in [
        (key("encrypted_pkcs8"), rs256, KeyError::Encrypted),
        (key("encrypted_pkcs1"), rs256, KeyError::Encrypted),
        (BASE64_STANDARD.encode(key("encrypted_pkcs8")), rs256, KeyError::Encrypted),
        (key("public"), rs256, KeyError::OtherPem),
        (key("public"), es256, KeyError::OtherPem),
        (key("certificate"), rs256, KeyError::OtherPem),
        (key("p256_sec1"), es256, KeyError::Sec1),
        (key("p256_sec1"), rs256, KeyError::OtherPem),
        (key("rsa_pkcs1"), es256, KeyError::OtherPem),
        (key("rsa_pkcs8"), es256, KeyError::Unusable),
        (key("p256_pkcs8"), rs256, KeyError::Unusable),
        (key("p384_pkcs8"), es256, KeyError::Unusable),
        (key("rsa_1024"), rs256, KeyError::Unusable),
        (half, rs256, KeyError::Unusable),
        (cut, rs256, KeyError::NotPem),
        (key("rsa_pkcs8").replace("MII", "M%I"), rs256, KeyError::NotPem),
        (String::new(), rs256, KeyError::NotPem),
        ("no key".to_owned(), rs256, KeyError::NotPem),
        (BASE64_STANDARD.encode("no key"), rs256, KeyError::NotPem),
        (BASE64_STANDARD.encode([0xff; 40]), rs256, KeyError::NotPem),
    ] {
        let refused = parse(&text, algorithm).unwrap_err();
        assert_eq!(refused, error, "{text}");
        let told = format!("{refused} {refused:?}");
        assert!(text.lines().all(|line| line.len() < 10 || !told.contains(line)), "{told}");
    }
}

#[test]
fn a_key_that_is_cut_anywhere_is_refused() {
    let (_, der) = pem(&key("rsa_pkcs8")).unwrap();
    for end in 0..der.len() {
        let cut = inside_pkcs8(&der[..end]);
        assert!(cut.is_none(), "{end}");
    }
    assert!(inside_pkcs8(&der).is_some());
}
