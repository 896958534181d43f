//! Describes Video SDK tokens, including those from other issuers.

use serde_json::Value;

use super::{
    MAX_SESSION, MAX_TOKEN_TTL, MAX_USER, MIN_TOKEN_TTL,
    params::{ROLE_TYPE, is_number},
};
use crate::reading::{
    Jwt, Reading, View,
    words::{length, plain},
};

/// The claims that can contain a user key, the newer one first.
const USERS: [&str; 2] = ["user_key", "user_identity"];

/// The numeric claims.
const NUMBERS: [&str; 7] = [
    ROLE_TYPE,
    "version",
    "cloud_recording_option",
    "cloud_recording_election",
    "cloud_recording_transcript_option",
    "video_webrtc_mode",
    "audio_webrtc_mode",
];

/// Describes a token for a session; `None` for any other JWT.
pub(super) fn read(token: &Jwt, view: View<'_>) -> Option<Reading> {
    let session = token.claims.get("tpc")?;
    token.claims.get("app_key")?;
    let mut reading = Reading::of(token);
    let user = USERS.into_iter().find_map(|claim| token.claims.get(claim));
    reading.add_line("identity", user.map_or_else(|| "none".to_owned(), plain));
    reading.add_line("for", format!("the session {}", plain(session)));
    let role = match token.claims.get(ROLE_TYPE).map(plain).as_deref() {
        Some("1") => "host or co-host",
        Some("0") => "participant",
        _ => "unknown",
    };
    reading.add_line("role", role);
    reading.add_claim("key", "app_key");
    add_warnings(token, view.now.unix_seconds(), &mut reading);
    Some(reading)
}

fn add_warnings(token: &Jwt, now: i64, reading: &mut Reading) {
    let is_long =
        |claim: &str, most| token.text(claim).is_some_and(|text: &str| text.chars().count() > most);
    if token.claims.get(ROLE_TYPE).map(plain).as_deref() == Some("1") {
        reading.warn(
            ROLE_TYPE,
            "makes its bearer a host, who can mute and remove others and end the session",
        );
    }
    for claim in NUMBERS {
        match token.claims.get(claim) {
            Some(value) if !is_number(value) => {
                reading.warn(claim, "is not a whole number, as Zoom requires");
            }
            None if [ROLE_TYPE, "version"].contains(&claim) => {
                reading.warn(claim, "is missing; Zoom refuses such a token");
            }
            _ => {}
        }
    }
    if token.text("tpc").is_none_or(str::is_empty) {
        reading.warn("tpc", "names no session; Zoom refuses such a token");
    } else if is_long("tpc", MAX_SESSION) {
        reading.warn("tpc", format!("exceeds Zoom's limit of {MAX_SESSION} characters"));
    }
    for claim in USERS.into_iter().filter(|claim| is_long(claim, MAX_USER)) {
        reading.warn(claim, format!("exceeds Zoom's limit of {MAX_USER} characters"));
    }
    if token.claims.contains_key("session_key") {
        reading.warn("session_key", "is readable by every bearer of the token");
    }
    let life = reading.validity.life(now).and_then(|life| u64::try_from(life).ok());
    let within = MIN_TOKEN_TTL.as_secs()..=MAX_TOKEN_TTL.as_secs();
    if let Some(life) = life.filter(|life| !within.contains(life)) {
        let (least, most) = (length(*within.start()), length(*within.end()));
        let life = length(life);
        reading.warn("exp", format!("is {life} after its issue; Zoom allows {least} to {most}"));
    }
    if token.claims.get("exp").is_some_and(Value::is_string) {
        reading.warn("exp", "is a string; Zoom requires a number");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{clock::WallTime, reading::unsigned};

    fn read_claims(claims: &Value) -> Option<Reading> {
        let view = View { now: WallTime::from_unix_seconds(0), mask: None };
        read(&unsigned(&json!({"alg": "HS256"}), claims), view)
    }

    fn good() -> Value {
        json!({"app_key": "k", "tpc": "standup", "role_type": 0, "version": 1, "iat": 0,
               "exp": 7_200, "user_key": "alice"})
    }

    #[test]
    fn dangerous_or_refused_claims_are_reported() {
        assert_eq!(read_claims(&good()).unwrap().warnings, []);
        for (claim, value, expected) in [
            ("role_type", json!(1), "a host"),
            ("role_type", json!("0"), "not a whole number"),
            ("role_type", json!(0.5), "not a whole number"),
            ("version", json!("1"), "not a whole number"),
            ("cloud_recording_option", json!("1"), "not a whole number"),
            ("tpc", json!(""), "no session"),
            ("tpc", json!("s".repeat(201)), "200 characters"),
            ("user_key", json!("u".repeat(37)), "36 characters"),
            ("user_identity", json!("u".repeat(37)), "36 characters"),
            ("session_key", json!("k"), "by every bearer"),
            ("exp", json!(1_799), "Zoom allows 30 min to 2 days"),
            ("exp", json!(172_801), "Zoom allows 30 min to 2 days"),
            ("exp", json!("7200"), "is a string"),
        ] {
            let mut claims = good();
            claims[claim] = value;
            let warnings = read_claims(&claims).unwrap().warnings;
            assert!(
                matches!(&warnings[..], [warning] if warning.about == claim && warning.message.contains(expected)),
                "{claims}: {warnings:?}"
            );
        }
        for claim in ["role_type", "version"] {
            let mut claims = good();
            claims.as_object_mut().unwrap().remove(claim);
            let warnings = read_claims(&claims).unwrap().warnings;
            assert!(
                matches!(&warnings[..], [warning] if warning.message.contains("missing")),
                "{warnings:?}"
            );
        }
    }

    #[test]
    fn identity_purpose_and_role_are_described() {
        let lines = |claims: &Value| {
            let lines = read_claims(claims).unwrap().lines;
            lines
                .into_iter()
                .map(|line| format!("{} {}", line.label, line.text))
                .collect::<Vec<_>>()
        };
        let participant =
            ["identity alice", "for the session standup", "role participant", "key k"];
        assert_eq!(lines(&good()), participant);
        let host = json!({"app_key": "k", "tpc": "a\n", "role_type": 1, "user_identity": "bob"});
        let expected = ["identity bob", "for the session a\\n", "role host or co-host", "key k"];
        assert_eq!(lines(&host), expected);
    }
}
