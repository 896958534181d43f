//! Describes Cloudflare Stream tokens, including those from other issuers.

use serde_json::Value;

use super::{MAX_TOKEN_TTL, is_uid, params::MAX_RULES};
use crate::reading::{
    Jwt, Reading, View,
    words::{length, plain},
};

/// Describes a token for a video; `None` for any other JWT. Cloudflare's tokens have no `iss` and
/// no `aud`, and the key ID among the claims.
pub(super) fn read(token: &Jwt, view: View<'_>) -> Option<Reading> {
    let has = |claim: &str| token.claims.contains_key(claim);
    let video = token.text("sub")?;
    let is_signed_with_rsa = token.algorithm().is_some_and(|alg| alg.starts_with("RS"));
    let has_its_claims = has("kid") || has("accessRules") || has("downloadable");
    let is_of_a_video = is_uid(video) && token.header_text("kid").is_some();
    if !is_signed_with_rsa || has("iss") || has("aud") || !(has_its_claims || is_of_a_video) {
        return None;
    }
    let mut reading = Reading::of(token);
    reading.needs_no_iat = true;
    reading.add_line("identity", "none");
    reading.add_line("for", format!("the video {}", video.escape_debug()));
    if token.claims.get("downloadable") == Some(&Value::Bool(true)) {
        reading.add_line("rights", "watch and download");
    } else {
        reading.add_line("rights", "watch");
    }
    for rule in token.claims.get("accessRules").and_then(Value::as_array).into_iter().flatten() {
        reading.add_line("rule", in_words(rule));
    }
    let key = token.header.get("kid").or_else(|| token.claims.get("kid"));
    if let Some(key) = key {
        reading.add_line("key", plain(key));
    }
    add_warnings(token, view.now.unix_seconds(), &mut reading);
    Some(reading)
}

/// A rule on one line, such as `allow ip.geoip.country US, MX`.
fn in_words(rule: &Value) -> String {
    let text = |name: &str| rule.get(name).map(plain);
    let lists = ["country", "ip"].into_iter().filter_map(|name| rule.get(name)?.as_array());
    let items: Vec<_> = lists.flatten().map(plain).collect();
    let words = [text("action"), text("type"), Some(items.join(", "))];
    let words = words.into_iter().flatten().filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join(" ")
}

fn add_warnings(token: &Jwt, now: i64, reading: &mut Reading) {
    match (token.header.get("kid"), token.claims.get("kid")) {
        (None, _) => {
            reading.warn("kid", "is missing in the header; Cloudflare's sample has it in both");
        }
        (_, None) => {
            reading.warn("kid", "is missing in the claims; Cloudflare's sample has it in both");
        }
        (header, claim) if header != claim => {
            reading.warn("kid", "differs between the header and the claims");
        }
        _ => {}
    }
    if token.text("sub").is_none_or(|video| !is_uid(video)) {
        reading.warn("sub", "is not a video UID, which has 32 hexadecimal digits");
    }
    match token.claims.get("accessRules").map(Value::as_array) {
        Some(None) => reading.warn("accessRules", "is not a list"),
        Some(Some(rules)) => note_rules(rules, reading),
        None => {}
    }
    if let Some(life) = reading.validity.life_over(MAX_TOKEN_TTL, now) {
        let (life, most) = (length(life), length(MAX_TOKEN_TTL.as_secs()));
        reading.warn("exp", format!("is {life} ahead; Cloudflare allows at most {most}"));
    }
}

fn note_rules(rules: &[Value], reading: &mut Reading) {
    if rules.len() > MAX_RULES {
        reading
            .warn("accessRules", format!("are more than the {MAX_RULES} that Cloudflare allows"));
    }
    let is = |rule: &Value, name: &str, value: &str| rule.get(name) == Some(&Value::from(value));
    let allows = rules.iter().any(|rule| is(rule, "action", "allow"));
    let is_closed = rules.iter().any(|rule| is(rule, "type", "any") && is(rule, "action", "block"));
    if allows && !is_closed {
        let open = "block nobody else: a viewer that matches none of them is allowed";
        reading.warn("accessRules", open);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{clock::WallTime, reading::unsigned};

    const VIDEO: &str = "ea95132c15732412d22c1476fa83f27a";

    fn read_token(header: &Value, claims: &Value) -> Option<Reading> {
        let view = View { now: WallTime::from_unix_seconds(0), mask: None };
        read(&unsigned(header, claims), view)
    }

    fn header() -> Value {
        json!({"alg": "RS256", "kid": "k1"})
    }

    fn good() -> Value {
        json!({"sub": VIDEO, "kid": "k1", "exp": 3_600})
    }

    #[test]
    fn dangerous_or_refused_claims_are_reported() {
        assert_eq!(read_token(&header(), &good()).unwrap().warnings, []);
        let allow = json!({"type": "ip.geoip.country", "action": "allow", "country": ["US"]});
        let any = json!({"type": "any", "action": "block"});
        for (claim, value, expected) in [
            ("sub", json!("my-video"), "not a video UID"),
            ("kid", json!("k2"), "differs between"),
            ("exp", json!(86_401), "Cloudflare allows at most 24 h"),
            ("accessRules", json!([any, any, any, any, any, any]), "more than the 5"),
            ("accessRules", json!([allow]), "matches none"),
            ("accessRules", json!({}), "not a list"),
        ] {
            let mut claims = good();
            claims[claim] = value;
            let warnings = read_token(&header(), &claims).unwrap().warnings;
            assert!(
                matches!(&warnings[..], [warning] if warning.about == claim && warning.message.contains(expected)),
                "{claims}: {warnings:?}"
            );
        }
        let mut claims = good();
        claims["accessRules"] = json!([allow, any]);
        assert_eq!(read_token(&header(), &claims).unwrap().warnings, []);
        claims.as_object_mut().unwrap().remove("kid");
        let warnings = read_token(&header(), &claims).unwrap().warnings;
        assert!(
            warnings.len() == 1 && warnings[0].message.contains("missing in the claims"),
            "{warnings:?}"
        );
        let warnings = read_token(&json!({"alg": "RS256"}), &good()).unwrap().warnings;
        assert!(
            warnings.len() == 1 && warnings[0].message.contains("missing in the header"),
            "{warnings:?}"
        );
    }

    #[test]
    fn video_and_rules_are_described() {
        let mut claims = good();
        claims["downloadable"] = json!(true);
        claims["accessRules"] = json!([
            {"type": "ip.src", "action": "allow", "ip": ["::1", "10.0.0.0/8"]},
            {"type": "any", "action": "block"},
        ]);
        let lines = read_token(&header(), &claims).unwrap().lines;
        let lines: Vec<_> =
            lines.into_iter().map(|line| format!("{} {}", line.label, line.text)).collect();
        let video = format!("for the video {VIDEO}");
        let expected = [
            "identity none",
            &video,
            "rights watch and download",
            "rule allow ip.src ::1, 10.0.0.0/8",
            "rule block any",
            "key k1",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn token_of_another_kind_is_not_read() {
        for (header, claims) in [
            (json!({"alg": "HS256", "kid": "k"}), good()),
            (header(), json!({"sub": "alice", "exp": 60})),
            (header(), json!({"sub": VIDEO, "kid": "k1", "aud": "v"})),
            (header(), json!({"sub": VIDEO, "iss": "somebody"})),
            (header(), json!({"kid": "k1", "exp": 60})),
        ] {
            assert!(read_token(&header, &claims).is_none(), "{claims}");
        }
    }
}
