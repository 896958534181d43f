//! Describes playback tokens, including those from other issuers.

use serde_json::Value;

use super::{
    MAX_OWN_TTL, MAX_VIEWER,
    params::{MAX_STRICT, are_origins, is_resolution},
};
use crate::{
    provider::ivs::{Arn, note_algorithm},
    reading::{
        Jwt, Reading, View,
        words::{length, plain},
    },
};

const CHANNEL: &str = "aws:channel-arn";
const VIEWER: &str = "aws:viewer-id";
const ORIGINS: &str = "aws:access-control-allow-origin";
const STRICT: &str = "aws:strict-origin-enforcement";
const SINGLE_USE: &str = "aws:single-use-uuid";
const VERSION: &str = "aws:viewer-session-version";
const RESOLUTION: &str = "aws:maximum-resolution";

/// Describes a token for a channel; `None` for any other JWT.
pub(super) fn read(token: &Jwt, view: View<'_>) -> Option<Reading> {
    let channel = token.claims.get(CHANNEL)?;
    let mut reading = Reading::of(token);
    reading.needs_no_iat = true;
    let viewer = token.claims.get(VIEWER).map_or_else(|| "none".to_owned(), plain);
    reading.add_line("identity", viewer);
    reading.add_line("for", format!("the channel {}", plain(channel)));
    for (label, claim) in [
        ("origins", ORIGINS),
        ("resolution", RESOLUTION),
        ("session", VERSION),
        ("single use", SINGLE_USE),
    ] {
        reading.add_claim(label, claim);
    }
    add_warnings(token, &mut reading);
    note_life(token, view.now.unix_seconds(), &mut reading);
    Some(reading)
}

fn add_warnings(token: &Jwt, reading: &mut Reading) {
    note_algorithm(token, reading);
    let channel = token.text(CHANNEL).and_then(Arn::parse);
    if channel.is_none_or(|arn| arn.resource_type != "channel") {
        reading.warn(CHANNEL, "is not a channel's ARN");
    }
    if token.text(VIEWER).is_some_and(|viewer| viewer.chars().count() > MAX_VIEWER) {
        reading.warn(VIEWER, format!("exceeds IVS's limit of {MAX_VIEWER} characters"));
    }
    let is_strict = token.claims.get(STRICT) == Some(&Value::Bool(true));
    match token.claims.get(ORIGINS) {
        Some(origins) if !origins.as_str().is_some_and(are_origins) => {
            reading.warn(ORIGINS, "is not a string of origins separated by commas without spaces");
        }
        Some(Value::String(origins)) if is_strict && origins.split(',').count() > MAX_STRICT => {
            reading.warn(ORIGINS, format!("has more than {MAX_STRICT}, with strict enforcement"));
        }
        None if is_strict => reading.warn(STRICT, "has no effect: no origin is named"),
        _ => {}
    }
    if token.claims.get(STRICT).is_some_and(|strict| !strict.is_boolean()) {
        reading.warn(STRICT, "is neither true nor false");
    }
    if token.claims.get(VERSION).is_some_and(|version| !version.is_i64()) {
        reading.warn(VERSION, "is not a whole number");
    }
    if token.claims.get(RESOLUTION).is_some_and(|resolution| !is_resolution(resolution)) {
        reading.warn(RESOLUTION, "is not SD, HD or FULL_HD");
    }
    if token.claims.get(SINGLE_USE).is_some_and(|uuid| uuid.as_str().is_none_or(str::is_empty)) {
        reading.warn(SINGLE_USE, "is not a UUID");
    }
}

fn note_life(token: &Jwt, now: i64, reading: &mut Reading) {
    let own = [(VIEWER, "a viewer's id"), (SINGLE_USE, "single use")];
    let Some((_, own)) = own.into_iter().find(|(claim, _)| token.claims.contains_key(*claim))
    else {
        return;
    };
    if let Some(life) = reading.validity.life_over(MAX_OWN_TTL, now) {
        let (life, most) = (length(life), length(MAX_OWN_TTL.as_secs()));
        reading.warn("exp", format!("is {life} ahead; with {own} IVS allows at most {most}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{clock::WallTime, reading::unsigned};

    fn read_claims(claims: &Value) -> Option<Reading> {
        let view = View { now: WallTime::from_unix_seconds(0), mask: None };
        read(&unsigned(&json!({"alg": "ES384"}), claims), view)
    }

    fn good() -> Value {
        json!({"aws:channel-arn": "arn:aws:ivs:us-west-2:123456789012:channel/a", "exp": 600,
               "aws:viewer-id": "alice", "aws:access-control-allow-origin": "https://a.example"})
    }

    #[test]
    fn unusual_claims_are_reported() {
        assert_eq!(read_claims(&good()).unwrap().warnings, []);
        for (claim, value, expected) in [
            (CHANNEL, json!("a"), "not a channel's ARN"),
            (CHANNEL, json!("arn:aws:ivs:us-west-2:123456789012:stage/a"), "not a channel's ARN"),
            (VIEWER, json!("v".repeat(41)), "40 characters"),
            (ORIGINS, json!("https://a.example, https://b.example"), "not a string of origins"),
            (ORIGINS, json!(["https://a.example"]), "not a string of origins"),
            (STRICT, json!("true"), "neither true nor false"),
            (VERSION, json!("0"), "not a whole number"),
            (RESOLUTION, json!("4K"), "not SD"),
            (SINGLE_USE, json!(true), "not a UUID"),
            ("exp", json!(601), "allows at most 10 min"),
        ] {
            let mut claims = good();
            claims[claim] = value;
            let warnings = read_claims(&claims).unwrap().warnings;
            assert!(
                matches!(&warnings[..], [warning] if warning.about == claim && warning.message.contains(expected)),
                "{claims}: {warnings:?}"
            );
        }
        let mut strict = good();
        strict[STRICT] = json!(true);
        assert_eq!(read_claims(&strict).unwrap().warnings, []);
        strict[ORIGINS] = json!(["https://a.example"; 6].join(","));
        assert!(read_claims(&strict).unwrap().warnings[0].message.contains("more than 5"));
        strict.as_object_mut().unwrap().remove(ORIGINS);
        assert!(read_claims(&strict).unwrap().warnings[0].message.contains("has no effect"));
        let mut shared = good();
        shared.as_object_mut().unwrap().remove(VIEWER);
        shared["exp"] = json!(86_400);
        assert_eq!(read_claims(&shared).unwrap().warnings, []);
    }

    #[test]
    fn identity_and_purpose_are_described() {
        let lines = read_claims(&good()).unwrap().lines;
        let lines: Vec<_> =
            lines.iter().map(|line| format!("{} {}", line.label, line.text)).collect();
        let channel = "for the channel arn:aws:ivs:us-west-2:123456789012:channel/a";
        assert_eq!(lines, ["identity alice", channel, "origins https://a.example"]);
        assert_eq!(read_claims(&json!({"sub": "alice", "exp": 60})), None);
    }
}
