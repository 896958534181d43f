//! Describes 100ms tokens, including those from other issuers.

use super::token::{TYPE, VERSION};
use crate::reading::{Jwt, Reading, words::plain};

/// Describes a token of an access key; `None` for any other JWT.
pub(super) fn read(token: &Jwt) -> Option<Reading> {
    token.claims.get("access_key")?;
    let is_typed = matches!(token.text("type"), Some("app" | "management"));
    if !is_typed && !token.claims.contains_key("room_id") {
        return None;
    }
    let mut reading = Reading::of(token);
    let user = token.claims.get("user_id").map_or_else(|| "none".to_owned(), plain);
    reading.add_line("identity", user);
    match token.claims.get("room_id") {
        Some(room) => reading.add_line("for", format!("the room {}", plain(room))),
        None if is_app(token) => reading.add_line("for", "no room"),
        None => reading.add_line("for", "the server's API"),
    }
    for (label, claim) in [("role", "role"), ("key", "access_key"), ("token id", "jti")] {
        reading.add_claim(label, claim);
    }
    add_warnings(token, &mut reading);
    Some(reading)
}

fn is_app(token: &Jwt) -> bool {
    token.text("type") == Some(TYPE)
}

fn add_warnings(token: &Jwt, reading: &mut Reading) {
    let payload = token.signed.split('.').nth(1).unwrap_or_default();
    if payload.contains(['-', '_']) {
        reading.warn(
            "payload",
            "has - or _ in its base64url, which the web client cannot read: write non-ASCII \
             characters and > ? ~ as \\uXXXX",
        );
    }
    if !is_app(token) {
        reading.warn("type", "is not app: its bearer can use the server's API");
        return;
    }
    if token.claims.get("version").is_none_or(|version| *version != VERSION) {
        reading.warn("version", "is not the number 2");
    }
    for claim in ["room_id", "role", "jti"] {
        if token.text(claim).is_none_or(str::is_empty) {
            reading.warn(claim, "is missing, empty or not a string; 100ms refuses such a token");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::reading::unsigned;

    fn read_claims(claims: &Value) -> Option<Reading> {
        read(&unsigned(&json!({"alg": "HS256"}), claims))
    }

    fn good() -> Value {
        json!({"access_key": "k", "type": "app", "version": 2, "room_id": "64f0", "role": "guest",
               "user_id": "alice", "jti": "7", "iat": 0, "nbf": 0, "exp": 60})
    }

    #[test]
    fn dangerous_or_refused_claims_are_reported() {
        assert_eq!(read_claims(&good()).unwrap().warnings, []);
        for (claim, value, about, expected) in [
            ("type", json!("management"), "type", "server's API"),
            ("version", json!("2"), "version", "not the number 2"),
            ("version", json!(1), "version", "not the number 2"),
            ("room_id", json!(""), "room_id", "missing"),
            ("role", json!(null), "role", "missing"),
            ("jti", json!(7), "jti", "missing"),
            ("user_id", json!("~~~~~~"), "payload", "web client"),
            ("user_id", json!("\u{1f3a5}???"), "payload", "web client"),
        ] {
            let mut claims = good();
            claims[claim] = value;
            let warnings = read_claims(&claims).unwrap().warnings;
            assert!(
                matches!(&warnings[..], [warning] if warning.about == about && warning.message.contains(expected)),
                "{claims}: {warnings:?}"
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
        let expected = ["identity alice", "for the room 64f0", "role guest", "key k", "token id 7"];
        assert_eq!(lines(&good()), expected);
        let management = json!({"access_key": "k", "type": "management"});
        assert_eq!(lines(&management), ["identity none", "for the server's API", "key k"]);
        assert_eq!(read_claims(&json!({"access_key": "k", "type": "other"})), None);
    }
}
