//! Problems of any JWT, whoever issued it: in its signature and its times.

use super::{Jwt, Reading, words::length_after};

/// The sort position of a problem with this header or claim: the algorithm first, then what a kind
/// finds, the times and the signature last.
pub(super) fn place(about: &str) -> usize {
    const FIRST: [&str; 2] = ["alg", "typ"];
    const LAST: [&str; 4] = ["iat", "nbf", "exp", "signature"];
    let among = |names: &[&str]| names.iter().position(|name| *name == about);
    among(&FIRST).or_else(|| Some(FIRST.len() + 1 + among(&LAST)?)).unwrap_or(FIRST.len())
}

/// The year 5138 in seconds, 1973 in milliseconds.
const LATEST: i64 = 100_000_000_000;

/// Adds all problems as of this Unix second.
pub(super) fn add(token: &Jwt, now: i64, reading: &mut Reading) {
    if token.algorithm().is_none_or(|alg| alg.eq_ignore_ascii_case("none")) {
        reading.warn("alg", "the token is not signed: verifiers must not accept it");
    }
    milliseconds(token, reading);
    issue(token, now, reading);
    start(now, reading);
    end(reading);
    signature(token, reading);
}

/// Times that are in milliseconds by mistake.
fn milliseconds(token: &Jwt, reading: &mut Reading) {
    for about in ["iat", "nbf"] {
        if is_late(token.time(about)) {
            reading.warn(about, "is in milliseconds; a JWT's times are seconds");
        }
    }
    if is_late(token.time("exp")) {
        reading
            .warn("exp", "is in milliseconds; verifiers read it as seconds, so it never expires");
    }
}

fn is_late(at: Option<i64>) -> bool {
    at.is_some_and(|at| at >= LATEST)
}

fn issue(token: &Jwt, now: i64, reading: &mut Reading) {
    match token.time("iat") {
        None if reading.needs_no_iat => {}
        None => reading.warn("iat", "is missing; its time of issue is unknown"),
        Some(at) if at > now && at < LATEST => {
            let ahead = length_after(now, at);
            reading
                .warn("iat", format!("is {ahead} ahead; the issuer's clock or this one is wrong"));
        }
        Some(_) => {}
    }
}

fn start(now: i64, reading: &mut Reading) {
    let Some(starts) = reading.validity.starts else { return };
    let error = reading.early_error.map_or_else(String::new, |error| format!(" ({error})"));
    if starts >= LATEST {
        return;
    }
    if starts > now {
        let ahead = length_after(now, starts);
        reading.warn("nbf", format!("is {ahead} ahead; the token is refused until then{error}"));
    } else if !reading.has_leeway && reading.validity.issued.is_some_and(|it| starts >= it) {
        reading.warn(
            "nbf",
            format!(
                "is the second of its issue; a verifier whose clock is behind refuses the token{error}: \
                 omit it, or set it back a minute"
            ),
        );
    }
}

fn end(reading: &mut Reading) {
    let start = reading.validity.issued.max(reading.validity.starts);
    if reading.validity.ends.is_none() {
        reading.warn("exp", "is missing or not a number; a token should expire");
    } else if reading.validity.is_never() && !is_late(start) {
        reading.warn("exp", "is not after its start; the token was never valid");
    }
}

/// A signature that is too short, so the end of the token is missing; or one in DER, as most
/// libraries encode ECDSA signatures.
fn signature(token: &Jwt, reading: &mut Reading) {
    if token.has_der_signature() {
        reading.warn(
            "signature",
            "is DER, which JWT verifiers refuse: they require r and s concatenated (RFC 7518, 3.4)",
        );
        return;
    }
    let message = match token.missing_of_signature() {
        0 => return,
        _ if token.signature.is_empty() => "is missing".to_owned(),
        1 => "its last character is missing".to_owned(),
        missing => format!("its last {missing} characters are missing"),
    };
    reading.warn("signature", message);
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use serde_json::{Value, json};

    use super::{super::unsigned, *};
    use crate::clock::WallTime;

    const NOW: i64 = 1_700_000_010;

    fn warnings(header: &Value, claims: &Value, signature: &str) -> Vec<(&'static str, String)> {
        let mut token = unsigned(header, claims);
        signature.clone_into(&mut token.signature);
        let reading = Reading::of(&token).complete(&token, WallTime::from_unix_seconds(NOW));
        reading.warnings.into_iter().map(|warning| (warning.about, warning.message)).collect()
    }

    fn warnings_claims(claims: &Value) -> Vec<(&'static str, String)> {
        warnings(&json!({"alg": "HS256"}), claims, &"x".repeat(43))
    }

    #[test]
    fn each_problem_is_reported_on_its_own() {
        assert_eq!(warnings_claims(&json!({"iat": 1_700_000_000, "exp": 1_700_000_060})), []);
        for (claim, value, expected) in [
            ("iat", json!(null), "missing"),
            ("iat", json!(NOW + 30), "30 s ahead"),
            ("nbf", json!(NOW + 30), "30 s ahead; the token is refused until then"),
            ("nbf", json!(1_700_000_000), "the second of its issue"),
            ("exp", json!(null), "missing"),
            ("exp", json!("soon"), "not a number"),
            ("iat", json!(1_700_000_000_000_i64), "is in milliseconds"),
            ("nbf", json!(1_700_000_000_000_i64), "is in milliseconds"),
            ("exp", json!(1_700_000_060_000_i64), "never expires"),
            ("exp", json!(1_700_000_000), "never valid"),
        ] {
            let mut claims = json!({"iat": 1_700_000_000, "exp": 1_700_000_060});
            claims[claim] = value;
            let warnings = warnings_claims(&claims);
            let [(about, message)] = &warnings[..] else { panic!("{claims}: {warnings:?}") };
            assert!(*about == claim && message.contains(expected), "{claims}: {warnings:?}");
        }
    }

    #[test]
    fn kind_may_supply_the_issue_and_tolerate_skew() {
        let mut token = unsigned(&json!({"alg": "HS256"}), &json!({"nbf": NOW, "exp": NOW + 60}));
        token.signature = "x".repeat(43);
        let mut reading = Reading::of(&token);
        reading.validity.issued = reading.validity.starts;
        (reading.has_leeway, reading.needs_no_iat) = (true, true);
        let warnings = reading.complete(&token, WallTime::from_unix_seconds(NOW)).warnings;
        assert_eq!(warnings, []);
    }

    #[test]
    fn missing_or_truncated_signature_is_reported() {
        let claims = json!({"iat": 1_700_000_000, "exp": 1_700_000_060});
        for header in [json!({"alg": "none"}), json!({"alg": "None"}), json!({"alg": 7})] {
            let warnings = warnings(&header, &claims, "");
            assert!(
                warnings.len() == 1 && warnings[0].1.contains("not signed"),
                "{header}: {warnings:?}"
            );
        }
        let cut = |length| warnings(&json!({"alg": "HS256"}), &claims, &"x".repeat(length));
        assert_eq!(cut(0), [("signature", "is missing".to_owned())]);
        assert_eq!(cut(42), [("signature", "its last character is missing".to_owned())]);
        assert_eq!(cut(40), [("signature", "its last 3 characters are missing".to_owned())]);
    }

    #[test]
    fn der_signature_is_reported() {
        let claims = json!({"iat": 1_700_000_000, "exp": 1_700_000_060});
        for (algorithm, bytes) in [("ES256", 64), ("ES384", 96)] {
            let sign = |der: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(der);
            let header = json!({"alg": algorithm});
            let right = vec![0x30; bytes];
            assert_eq!(warnings(&header, &claims, &sign(&right)), [], "{algorithm}");
            // A sequence of two integers, each half as long as the signature, or one byte longer
            // for the sign.
            let inner = u8::try_from(bytes).unwrap() + 4;
            let der = [&[0x30, inner][..], &vec![2; inner.into()]].concat();
            let warnings = warnings(&header, &claims, &sign(&der));
            assert!(
                matches!(&warnings[..], [("signature", expected)] if expected.contains("DER")),
                "{warnings:?}"
            );
        }
    }

    #[test]
    fn problems_are_sorted_by_header_or_claim() {
        let token = unsigned(&json!({"alg": "none"}), &json!({}));
        let mut reading = Reading::of(&token);
        for about in ["exp", "room", "typ"] {
            reading.warn(about, "is specific to its kind");
        }
        let warnings = reading.complete(&token, WallTime::from_unix_seconds(NOW)).warnings;
        let about: Vec<_> = warnings.iter().map(|warning| warning.about).collect();
        assert_eq!(about, ["alg", "typ", "room", "iat", "exp", "exp"]);
        assert!(warnings[5].message.ends_with("to its kind"), "{warnings:?}");
    }
}
