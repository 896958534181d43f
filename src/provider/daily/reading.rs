//! Describes Daily meeting tokens, including those from other issuers.

use serde_json::Value;

use super::{MAX_USER, config::is_uuid, params::FLAGS};
use crate::reading::{Jwt, Reading, words::plain};

/// Describes a meeting token; `None` for any other JWT. Daily's tokens have a domain ID and no
/// `iss`, `sub` or `aud`.
pub(super) fn read(token: &Jwt) -> Option<Reading> {
    let domain = token.text("d")?;
    let has_party = ["iss", "sub", "aud"].iter().any(|claim| token.claims.contains_key(*claim));
    if has_party || !(is_uuid(domain) || token.text("r").is_some()) {
        return None;
    }
    let mut reading = Reading::of(token);
    let user = token.claims.get("ud").map_or_else(|| "none".to_owned(), plain);
    reading.add_line("identity", user);
    match room(token) {
        Some(room) => reading.add_line("for", format!("the room {}", room.escape_debug())),
        None => reading.add_line("for", "any room of the domain"),
    }
    let owner = if token.claims.get("o") == Some(&Value::Bool(true)) { "owner" } else { "guest" };
    reading.add_line("rights", owner);
    for (label, claim) in [("permissions", "p"), ("name", "u"), ("domain", "d")] {
        reading.add_claim(label, claim);
    }
    add_warnings(token, &mut reading);
    Some(reading)
}

fn room(token: &Jwt) -> Option<&str> {
    token.text("r").filter(|room| !room.is_empty())
}

fn add_warnings(token: &Jwt, reading: &mut Reading) {
    let is_true = |claim: &str| token.claims.get(claim) == Some(&Value::Bool(true));
    if room(token).is_none() {
        reading.warn("r", "names no room: its bearer can join any room of the domain");
    }
    if is_true("o") {
        reading.warn("o", "makes its bearer an owner, who can remove others, record and stream");
    }
    if is_true("ejt") {
        reading.warn("ejt", "ends the bearer's call when the token expires");
    }
    if token.claims.get("exp").is_none_or(Value::is_null) {
        reading.warn("exp", "is missing: Daily accepts the token indefinitely");
    }
    if !is_uuid(token.text("d").unwrap_or_default()) {
        reading.warn("d", "is not a domain ID, a UUID");
    }
    if token.text("ud").is_some_and(|user| user.chars().count() > MAX_USER) {
        reading.warn("ud", format!("exceeds Daily's limit of {MAX_USER} characters"));
    }
    for claim in FLAGS {
        if token.claims.get(claim).is_some_and(|value| !value.is_boolean()) {
            reading.warn(claim, "is neither true nor false");
        }
    }
    for claim in ["eje", "exp", "nbf", "iat"] {
        if token.claims.get(claim).is_some_and(Value::is_string) {
            reading.warn(claim, "is a string; Daily requires a number");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reading::unsigned;

    const DOMAIN: &str = "3c475c00-8fa1-4ba0-96f8-4f2ae955cc17";

    fn read_claims(claims: &Value) -> Option<Reading> {
        read(&unsigned(&json!({"alg": "HS256"}), claims))
    }

    fn good() -> Value {
        json!({"r": "standup", "d": DOMAIN, "ud": "alice", "iat": 0, "exp": 60})
    }

    #[test]
    fn dangerous_or_refused_claims_are_reported() {
        assert_eq!(read_claims(&good()).unwrap().warnings, []);
        for (claim, value, expected) in [
            ("r", json!(""), "any room"),
            ("r", json!(null), "any room"),
            ("o", json!(true), "an owner"),
            ("o", json!("true"), "neither true nor false"),
            ("ss", json!(1), "neither true nor false"),
            ("ejt", json!(true), "ends the bearer's call"),
            ("exp", json!(null), "indefinitely"),
            ("exp", json!("60"), "is a string"),
            ("eje", json!("60"), "is a string"),
            ("d", json!("my-domain"), "not a domain ID"),
            ("ud", json!("u".repeat(37)), "36 characters"),
        ] {
            let mut claims = good();
            claims[claim] = value;
            let warnings = read_claims(&claims).unwrap().warnings;
            assert!(
                matches!(&warnings[..], [warning] if warning.about == claim && warning.message.contains(expected)),
                "{claims}: {warnings:?}"
            );
        }
    }

    #[test]
    fn identity_purpose_and_rights_are_described() {
        let lines = |claims: &Value| {
            let lines = read_claims(claims).unwrap().lines;
            lines
                .into_iter()
                .map(|line| format!("{} {}", line.label, line.text))
                .collect::<Vec<_>>()
        };
        let domain = format!("domain {DOMAIN}");
        let guest = ["identity alice", "for the room standup", "rights guest", &domain];
        assert_eq!(lines(&good()), guest);
        let owner = json!({"d": DOMAIN, "o": true, "u": "Zo\u{eb}", "p": {"hp": false}});
        let expected = [
            "identity none",
            "for any room of the domain",
            "rights owner",
            "permissions {\"hp\":false}",
            "name Zo\u{eb}",
            &domain,
        ];
        assert_eq!(lines(&owner), expected);
    }

    #[test]
    fn token_of_another_kind_is_not_read() {
        for claims in [
            json!({"d": "x", "exp": 60}),
            json!({"d": DOMAIN, "iss": "somebody"}),
            json!({"r": "standup", "exp": 60}),
        ] {
            assert_eq!(read_claims(&claims), None, "{claims}");
        }
    }
}
