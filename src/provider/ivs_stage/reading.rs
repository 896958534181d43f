//! Describes stage tokens, including those from other issuers.

use serde_json::Value;

use super::{
    MAX_CONNECTION_TTL, MAX_PARTICIPANT_TTL, MAX_USER,
    params::{CAPABILITIES, MAX_ATTRIBUTES, are_capabilities},
    token::VERSION,
};
use crate::{
    provider::ivs::{Arn, is_swapped, note_algorithm},
    reading::{
        Jwt, Reading, View,
        words::{length, plain},
    },
};

/// The longest participant ID in characters.
const MAX_ID: usize = 64;

/// Describes a participant or connection token; `None` for any other JWT.
pub(super) fn read(token: &Jwt, view: View<'_>) -> Option<Reading> {
    let events = token.text("events_url")?;
    let is_participant = ["resource", "topic", "whip_url", "capabilities"]
        .iter()
        .any(|claim| token.claims.contains_key(*claim));
    if !is_participant && !token.claims.contains_key("account_id") {
        return None;
    }
    let mut reading = Reading::of(token);
    let max = if is_participant {
        participant(token, &mut reading);
        MAX_PARTICIPANT_TTL
    } else {
        connection(token, &mut reading);
        MAX_CONNECTION_TTL
    };
    if let Some(key) = token.header.get("kid").map(plain) {
        reading.add_line("key", key);
    }
    reading.add_line("events", events.escape_debug().to_string());
    reading.add_claim("token id", "jti");
    add_warnings(token, &mut reading);
    if let Some(life) = reading.validity.life_over(max, view.now.unix_seconds()) {
        let (life, max) = (length(life), length(max.as_secs()));
        reading.warn("exp", format!("is {life} after its issue; IVS allows at most {max}"));
    }
    Some(reading)
}

fn participant(token: &Jwt, reading: &mut Reading) {
    let user = token.claims.get("user_id").map_or_else(|| "none".to_owned(), plain);
    reading.add_line("identity", user);
    let stage = token.claims.get("resource").map(plain);
    reading.add_line(
        "for",
        stage.map_or_else(|| "no stage".to_owned(), |it| format!("the stage {it}")),
    );
    let capabilities = token.claims.get("capabilities");
    let may = |name: &&str| capabilities.and_then(|it| it.get(*name)) == Some(&Value::Bool(true));
    let may: Vec<_> = CAPABILITIES.into_iter().filter(may).collect();
    reading.add_line("rights", if may.is_empty() { "none".to_owned() } else { may.join(", ") });
    reading.add_claim("attributes", "attributes");
    note_stage(token, reading);

    if capabilities.is_none_or(|it| !are_capabilities(it)) {
        let wanted = "is not an object of allow_publish and allow_subscribe, each true or false";
        reading.warn("capabilities", wanted);
    }
    if token.text("user_id").is_some_and(|user| user.chars().count() > MAX_USER) {
        reading.warn("user_id", format!("exceeds IVS's limit of {MAX_USER} characters"));
    }
    if let Some(attributes) = token.claims.get("attributes") {
        let bytes = attributes.as_object().and_then(|texts| {
            texts.iter().map(|(name, text)| Some(name.len() + text.as_str()?.len())).sum()
        });
        if bytes.is_none_or(|bytes: usize| bytes > MAX_ATTRIBUTES) {
            let wanted = format!("are not strings by name, of at most {MAX_ATTRIBUTES} bytes");
            reading.warn("attributes", wanted);
        }
    }
    if token.text("whip_url").is_none_or(str::is_empty) {
        reading.warn("whip_url", "is missing; GetStage returns it");
    }
}

fn note_stage(token: &Jwt, reading: &mut Reading) {
    let resource = token.text("resource").unwrap_or_default();
    let stage = Arn::parse(resource).filter(|arn| arn.resource_type == "stage");
    let Some(stage) = stage else {
        reading.warn("resource", "is not a stage's ARN");
        return;
    };
    if token.text("topic") != resource.rsplit('/').next() {
        reading.warn("topic", "differs from the part after the slash of the stage's ARN");
    }
    let key = token.header_text("kid").and_then(Arn::parse);
    if key.is_some_and(|key| (key.region, key.account) != (stage.region, stage.account)) {
        reading.warn("kid", "is a key of another region or account than the stage's");
    }
}

fn connection(token: &Jwt, reading: &mut Reading) {
    reading.add_line("identity", "none");
    let place = ["account_id", "region"]
        .map(|claim| token.claims.get(claim).map_or_else(|| "none".to_owned(), plain));
    let [account, region] = place;
    reading.add_line("for", format!("a connection to stages of account {account} in {region}"));
    if token.text("region").is_none_or(str::is_empty) {
        reading.warn("region", "is missing, or not a string");
    }
}

fn add_warnings(token: &Jwt, reading: &mut Reading) {
    note_algorithm(token, reading);
    match token.header_text("kid") {
        None => reading.warn("kid", "is missing: the header names no public key"),
        Some(key) if is_swapped(key) => {
            reading.warn("kid", "has region and account swapped");
        }
        Some(key) if Arn::parse(key).is_none_or(|arn| arn.resource_type != "public-key") => {
            reading.warn("kid", "is not a public key's ARN");
        }
        Some(_) => {}
    }
    let of_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let is_id = |id: &str| (1..=MAX_ID).contains(&id.len()) && id.bytes().all(of_id);
    if !token.text("jti").is_some_and(is_id) {
        let wanted = "is missing, or not 1 to 64 letters, digits, - and _: it is the participant \
                      ID on the stage";
        reading.warn("jti", wanted);
    }
    if token.text("version") != Some(VERSION) {
        reading.warn("version", "is not the string 1.0");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{clock::WallTime, reading::unsigned};

    const KEY: &str = "arn:aws:ivs:us-west-2:123456789012:public-key/e5d8282a";

    fn read_parts(header: &Value, claims: &Value) -> Option<Reading> {
        let view = View { now: WallTime::from_unix_seconds(0), mask: None };
        read(&unsigned(header, claims), view)
    }

    fn read_claims(claims: &Value) -> Option<Reading> {
        read_parts(&json!({"alg": "ES384", "kid": KEY}), claims)
    }

    fn good() -> Value {
        json!({"resource": "arn:aws:ivs:us-west-2:123456789012:stage/oRmL", "topic": "oRmL",
               "events_url": "wss://e.example", "whip_url": "https://w.example", "jti": "Mx6c",
               "capabilities": {"allow_subscribe": true}, "version": "1.0", "user_id": "alice",
               "iat": 0, "exp": 1_209_600})
    }

    fn connection() -> Value {
        json!({"account_id": "123456789012", "region": "us-west-2", "jti": "c-1",
               "events_url": "wss://e.example", "version": "1.0", "iat": 0, "exp": 2_419_200})
    }

    fn assert_odd(reading: &Reading, about: &str, expected: &str) {
        let warnings = &reading.warnings;
        assert!(
            matches!(&warnings[..], [warning] if warning.about == about && warning.message.contains(expected)),
            "{about} {expected}: {warnings:?}"
        );
    }

    #[test]
    fn unusual_claims_are_reported() {
        assert_eq!(read_claims(&good()).unwrap().warnings, []);
        assert_eq!(read_claims(&connection()).unwrap().warnings, []);
        for (claim, value, expected) in [
            ("resource", json!("oRmL"), "not a stage's ARN"),
            ("topic", json!("stage/oRmL"), "after the slash"),
            ("jti", json!(null), "participant ID"),
            ("jti", json!("a b"), "participant ID"),
            ("jti", json!("j".repeat(65)), "participant ID"),
            ("version", json!(1.0), "the string 1.0"),
            ("whip_url", json!(null), "GetStage"),
            ("user_id", json!("u".repeat(129)), "128 characters"),
            ("capabilities", json!({"allow_publish": "true"}), "not an object of"),
            ("capabilities", json!(["PUBLISH"]), "not an object of"),
            ("attributes", json!({"seat": 3}), "not strings by name"),
            ("attributes", json!({"seat": "3".repeat(1_024)}), "not strings by name"),
            ("exp", json!(1_209_601), "allows at most 14 days"),
        ] {
            let mut claims = good();
            claims[claim] = value;
            assert_odd(&read_claims(&claims).unwrap(), claim, expected);
        }
        for (claim, value, expected) in [
            ("region", json!(null), "missing"),
            ("jti", json!(null), "missing"),
            ("exp", json!(2_419_201), "allows at most 28 days"),
        ] {
            let mut claims = connection();
            claims[claim] = value;
            assert_odd(&read_claims(&claims).unwrap(), claim, expected);
        }
        for (kid, expected) in [
            (json!(null), "is missing"),
            (json!("e5d8282a"), "not a public key's ARN"),
            (json!("arn:aws:ivs:123456789012:us-west-2:public-key/a"), "swapped"),
            (json!("arn:aws:ivs:eu-west-1:123456789012:public-key/a"), "another region"),
        ] {
            let reading = read_parts(&json!({"alg": "ES384", "kid": kid}), &good());
            assert_odd(&reading.unwrap(), "kid", expected);
        }
    }

    #[test]
    fn identity_purpose_and_rights_are_described() {
        let lines = |claims: &Value| {
            let lines = read_claims(claims).unwrap().lines;
            let lines = lines.into_iter().map(|line| format!("{} {}", line.label, line.text));
            lines.collect::<Vec<_>>()
        };
        let key = format!("key {KEY}");
        let expected = [
            "identity alice",
            "for the stage arn:aws:ivs:us-west-2:123456789012:stage/oRmL",
            "rights allow_subscribe",
            &key,
            "events wss://e.example",
            "token id Mx6c",
        ];
        assert_eq!(lines(&good()), expected);
        let expected = [
            "identity none",
            "for a connection to stages of account 123456789012 in us-west-2",
            &key,
            "events wss://e.example",
            "token id c-1",
        ];
        assert_eq!(lines(&connection()), expected);
        assert_eq!(read_claims(&json!({"events_url": "wss://e.example"})), None);
    }
}
