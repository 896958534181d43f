//! Describes Mux tokens, including those from other issuers.

use serde_json::Value;

use super::params::token_type;
use crate::reading::{Jwt, Reading, words::plain};

/// Claims with a line of their own.
const SHOWN: [&str; 6] = ["sub", "aud", "kid", "exp", "iat", "nbf"];

/// Describes a token of a signing key; `None` for any other JWT.
pub(super) fn read(token: &Jwt) -> Option<Reading> {
    let (what, audience) = token_type(token.claims.get("aud")?)?;
    let id = token.claims.get("sub")?;
    let key = token.claims.get("kid").or_else(|| token.header.get("kid"))?;
    if token.claims.contains_key("iss") {
        return None;
    }
    let mut reading = Reading::of(token);
    reading.needs_no_iat = true;
    reading.add_line("identity", "none: any bearer can use it");
    let of = match audience {
        "asset_id" => "the asset",
        "live_stream_id" => "the live stream",
        "video_id" => "the video",
        _ => "the playback ID",
    };
    reading.add_line("for", format!("{of} {}", plain(id)));
    reading.add_line("type", what);
    let others = token.claims.iter().filter(|(name, _)| !SHOWN.contains(&name.as_str()));
    let others: Vec<_> =
        others.map(|(name, value)| format!("{} {}", name.escape_debug(), plain(value))).collect();
    if !others.is_empty() {
        reading.add_line("with", others.join(", "));
    }
    reading.add_line("key", plain(key));
    add_warnings(token, &mut reading);
    Some(reading)
}

fn add_warnings(token: &Jwt, reading: &mut Reading) {
    if token.algorithm().is_some_and(|algorithm| algorithm != "RS256") {
        reading.warn("alg", "is not RS256, which Mux's signing keys require");
    }
    if !token.claims.contains_key("kid") {
        reading.warn(
            "kid",
            "is only in the header, as Mux's earlier libraries wrote it; since version 8 it is a \
             claim",
        );
    }
    if token.text("sub").is_none_or(str::is_empty) {
        reading.warn("sub", "names no playback ID");
    }
    if token.claims.get("exp").is_some_and(Value::is_string) {
        reading.warn("exp", "is a string; it must be a number");
    }
    let restriction = token.claims.get("playback_restriction_id");
    if restriction.is_some_and(|id| id.as_str().is_none_or(str::is_empty)) {
        reading.warn("playback_restriction_id", "is not a restriction ID");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reading::unsigned;

    fn read_parts(header: &Value, claims: &Value) -> Option<Reading> {
        read(&unsigned(header, claims))
    }

    fn read_claims(claims: &Value) -> Option<Reading> {
        read_parts(&json!({"alg": "RS256"}), claims)
    }

    fn good() -> Value {
        json!({"sub": "qIJB", "aud": "v", "kid": "cfE3", "exp": 60})
    }

    #[test]
    fn unusual_claims_are_reported() {
        assert_eq!(read_claims(&good()).unwrap().warnings, []);
        for (claim, value, expected) in [
            ("sub", json!(""), "no playback ID"),
            ("sub", json!(7), "no playback ID"),
            ("exp", json!("60"), "is a string"),
            ("playback_restriction_id", json!(""), "not a restriction ID"),
        ] {
            let mut claims = good();
            claims[claim] = value;
            let warnings = read_claims(&claims).unwrap().warnings;
            assert!(
                matches!(&warnings[..], [warning] if warning.about == claim && warning.message.contains(expected)),
                "{claims}: {warnings:?}"
            );
        }
        let mut claims = good();
        claims.as_object_mut().unwrap().remove("kid");
        let warnings =
            read_parts(&json!({"alg": "RS256", "kid": "cfE3"}), &claims).unwrap().warnings;
        assert!(
            matches!(&warnings[..], [warning] if warning.message.contains("only in the header")),
            "{warnings:?}"
        );
        let warnings = read_parts(&json!({"alg": "HS256"}), &good()).unwrap().warnings;
        assert!(matches!(&warnings[..], [warning] if warning.about == "alg"), "{warnings:?}");
    }

    #[test]
    fn purpose_and_options_are_described() {
        let lines = |claims: &Value| {
            let lines = read_claims(claims).unwrap().lines;
            let lines = lines.into_iter().map(|line| format!("{} {}", line.label, line.text));
            lines.skip(1).collect::<Vec<_>>()
        };
        assert_eq!(lines(&good()), ["for the playback ID qIJB", "type video", "key cfE3"]);
        let image = json!({"sub": "a\n", "aud": "t", "kid": "k", "width": 640, "time": "2"});
        let expected =
            ["for the playback ID a\\n", "type thumbnail", "with time 2, width 640", "key k"];
        assert_eq!(lines(&image), expected);
        let counts = json!({"sub": "a", "aud": "live_stream_id", "kid": "k"});
        assert_eq!(lines(&counts), ["for the live stream a", "type live_stream_stats", "key k"]);
    }

    #[test]
    fn token_of_another_kind_is_not_read() {
        for (claim, value) in [
            ("aud", json!("jitsi")),
            ("aud", json!(["v"])),
            ("aud", json!(null)),
            ("iss", json!("somebody")),
        ] {
            let mut claims = good();
            claims[claim] = value;
            assert_eq!(read_claims(&claims), None, "{claims}");
        }
        assert_eq!(read_claims(&json!({"sub": "a", "aud": "v", "exp": 60})), None);
    }
}
