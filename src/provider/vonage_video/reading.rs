//! Describes session tokens, including those from other issuers and from OpenTok.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::{
    MAX_CONNECTION_DATA, MAX_TOKEN_TTL,
    params::{ROLES, is_class_list},
    session,
    token::SCOPE,
};
use crate::reading::{
    Jwt, Reading, View,
    words::{length, plain},
};

/// The prefix of OpenTok's tokens that are not JWTs.
const LEGACY: &str = "T1==";

/// The longest such token that is read.
const MAX_LEGACY_BYTES: usize = 16 * 1024;

/// Describes a token for a session; `None` for any other JWT.
pub(super) fn read(token: &Jwt, view: View<'_>) -> Option<Reading> {
    let session = token.claims.get("session_id")?;
    if token.text("scope").is_none_or(|scope| scope != SCOPE) {
        return None;
    }
    let mut reading = Reading::of(token);
    let data = token.claims.get("connection_data").map_or_else(|| "none".to_owned(), plain);
    reading.add_line("identity", data);
    reading.add_line("for", format!("the session {}", plain(session)));
    for (label, claim) in
        [("role", "role"), ("key", "application_id"), ("key", "iss"), ("token id", "jti")]
    {
        reading.add_claim(label, claim);
    }
    if is_legacy(token) {
        let old = "is OpenTok's: signed with an API secret, for OpenTok's servers and not Vonage's";
        reading.warn("ist", old);
    } else {
        note_application(token, &mut reading);
    }
    add_warnings(token, view.now.unix_seconds(), &mut reading);
    Some(reading)
}

fn is_legacy(token: &Jwt) -> bool {
    token.text("ist") == Some("project") && !token.claims.contains_key("application_id")
}

/// Adds the warnings specific to an application's tokens.
fn note_application(token: &Jwt, reading: &mut Reading) {
    match token.text("application_id") {
        None => reading.warn("application_id", "is missing; Vonage refuses such a token"),
        Some(application) => {
            let owner = token.text("session_id").and_then(session::owner);
            if owner.is_some_and(|owner| owner != application) {
                let other = "differs from the owner in the session ID";
                reading.warn("application_id", other);
            }
        }
    }
    if token.algorithm() != Some("RS256") {
        reading.warn("alg", "is not RS256, which applications sign with");
    }
    for claim in ["sub", "acl"] {
        if !token.claims.contains_key(claim) {
            let missing = "is missing; the library for Node writes it, others do not";
            reading.warn(claim, missing);
        }
    }
    if token.claims.get("jti").is_none_or(Value::is_null) {
        reading.warn("jti", "is missing; each of Vonage's libraries writes it");
    }
}

fn add_warnings(token: &Jwt, now: i64, reading: &mut Reading) {
    match token.text("role") {
        Some("moderator") => {
            reading
                .warn("role", "makes its bearer a moderator, who can disconnect and mute others");
        }
        Some(role) if !ROLES.contains(&role) => reading.warn("role", "is not one of Vonage's"),
        _ => {}
    }
    let classes = token.claims.get("initial_layout_class_list");
    if classes.is_some_and(|classes| !is_class_list(classes)) {
        reading
            .warn("initial_layout_class_list", "is not a string; the library for Node writes one");
    }
    if token.text("session_id").is_none_or(|session| !session::is_id(session)) {
        reading.warn("session_id", "is not a session ID in the form of Vonage's API");
    }
    if token.text("connection_data").is_some_and(|it| it.chars().count() > MAX_CONNECTION_DATA) {
        let long = format!("exceeds Vonage's limit of {MAX_CONNECTION_DATA} characters");
        reading.warn("connection_data", long);
    }
    if let Some(life) = reading.validity.life_over(MAX_TOKEN_TTL, now) {
        let (life, most) = (length(life), length(MAX_TOKEN_TTL.as_secs()));
        reading.warn("exp", format!("is {life} after its issue; Vonage allows at most {most}"));
    }
}

/// Describes a token in OpenTok's old form; `None` for any other string.
pub(super) fn read_legacy(text: &str) -> Option<Reading> {
    let encoded = text.trim().strip_prefix(LEGACY).filter(|it| it.len() <= MAX_LEGACY_BYTES)?;
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    let (signed, fields) = decoded.split_once(':')?;
    let project = signed.split('&').find_map(|field| field.strip_prefix("partner_id="))?;
    let fields: Vec<(String, String)> =
        form_urlencoded::parse(fields.as_bytes()).into_owned().collect();
    let field = |name: &str| {
        let found = fields.iter().find(|(its, value)| its == name && !value.is_empty())?;
        Some(found.1.escape_debug().to_string())
    };
    let mut reading = Reading::opaque();
    reading.add_line("what", "an OpenTok token in the old form");
    reading.add_line("identity", field("connection_data").unwrap_or_else(|| "none".to_owned()));
    if let Some(session) = field("session_id") {
        reading.add_line("for", format!("the session {session}"));
    }
    if let Some(role) = field("role") {
        reading.add_line("role", role);
    }
    reading.add_line("key", project.escape_debug().to_string());
    reading.warn("token", "is OpenTok's: Vonage's servers require JWTs of an application");
    Some(reading)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{clock::WallTime, reading::unsigned};

    const APPLICATION: &str = "abcdef01-2345-6789-abcd-ef0123456789";

    const SESSION: &str = "2_MX5hYmNkZWYwMS0yMzQ1LTY3ODktYWJjZC1lZjAxMjM0NTY3ODl-fjE3MDAwMDAwMDAwMDB-dGVzdHNlc3Npb25-fg";

    fn read_claims(claims: &Value) -> Option<Reading> {
        let view = View { now: WallTime::from_unix_seconds(0), mask: None };
        read(&unsigned(&json!({"alg": "RS256"}), claims), view)
    }

    fn good() -> Value {
        json!({"application_id": APPLICATION, "scope": "session.connect", "session_id": SESSION,
            "role": "publisher", "initial_layout_class_list": "", "sub": "video",
            "acl": {"paths": {"/session/**": {}}}, "jti": "1", "iat": 0, "exp": 3_600,
            "connection_data": "alice"})
    }

    #[test]
    fn dangerous_or_refused_claims_are_reported() {
        assert_eq!(read_claims(&good()).unwrap().warnings, []);
        for (claim, value, expected) in [
            ("role", json!("moderator"), "a moderator"),
            ("role", json!("admin"), "not one of Vonage's"),
            ("initial_layout_class_list", json!(["focus"]), "not a string"),
            ("session_id", json!("lobby"), "not a session ID"),
            ("connection_data", json!("d".repeat(1_001)), "1000 characters"),
            (
                "application_id",
                json!("d42e54fb-dda3-4a36-bd16-2ff315b7c0ce"),
                "differs from the owner",
            ),
            ("exp", json!(2_592_001), "at most 30 days"),
            ("jti", json!(null), "is missing"),
        ] {
            let mut claims = good();
            claims[claim] = value;
            let warnings = read_claims(&claims).unwrap().warnings;
            assert!(
                matches!(&warnings[..], [warning] if warning.about == claim && warning.message.contains(expected)),
                "{claims}: {warnings:?}"
            );
        }
        for claim in ["application_id", "sub", "acl"] {
            let mut claims = good();
            claims.as_object_mut().unwrap().remove(claim);
            let warnings = read_claims(&claims).unwrap().warnings;
            assert!(matches!(&warnings[..], [warning] if warning.about == claim), "{warnings:?}");
        }
        let old = json!({"iss": "45678901", "ist": "project", "scope": "session.connect",
            "session_id": "1_MX40NTY3ODkwMX5-MTcwMDAwMDAwMDAwMH50ZXN0c2Vzc2lvbn5-",
            "role": "publisher", "iat": 0, "exp": 60});
        let warnings = read_claims(&old).unwrap().warnings;
        assert!(
            matches!(&warnings[..], [warning] if warning.message.contains("OpenTok's")),
            "{warnings:?}"
        );
    }

    #[test]
    fn identity_purpose_and_role_are_described() {
        let lines = read_claims(&good()).unwrap().lines;
        let lines: Vec<_> =
            lines.into_iter().map(|line| format!("{} {}", line.label, line.text)).collect();
        let (session, key) = (format!("for the session {SESSION}"), format!("key {APPLICATION}"));
        assert_eq!(lines, ["identity alice", &session, "role publisher", &key, "token id 1"]);
    }

    #[test]
    fn old_opentok_token_is_read() {
        let fields = "partner_id=45678901&sig=c487:session_id=1_MX40&role=publisher&\
                      connection_data=u%3D1&initial_layout_class_list=";
        let token = format!("{LEGACY}{}", BASE64_STANDARD.encode(fields));
        let lines = read_legacy(&token).unwrap().lines;
        let lines: Vec<_> =
            lines.into_iter().map(|line| format!("{} {}", line.label, line.text)).collect();
        let expected = [
            "what an OpenTok token in the old form",
            "identity u=1",
            "for the session 1_MX40",
            "role publisher",
            "key 45678901",
        ];
        assert_eq!(lines, expected);
        for other in ["", "T1==", "T1==!", "T1==YWJj", "T2==cGFydG5lcl9pZD0xOmE9Yg=="] {
            assert_eq!(read_legacy(other), None, "{other}");
        }
    }

    #[test]
    fn token_of_another_kind_is_not_read() {
        for claims in [
            json!({"session_id": SESSION}),
            json!({"session_id": SESSION, "scope": "other"}),
            json!({"scope": "session.connect", "sub": "video"}),
        ] {
            assert!(read_claims(&claims).is_none(), "{claims}");
        }
    }
}
