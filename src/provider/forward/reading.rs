//! Describes credentials that are not JWTs.
//!
//! Sources: GitHub's page "Authentication: token formats"; Google's "Token types"; W3C's "WebRTC",
//! `RTCIceServer`.

use serde_json::{Map, Value};

use super::emulation::ISSUER;
use crate::reading::{Jwt, Reading, View, words::plain};

/// The prefixes of known credentials.
const BEGINNINGS: [(&str, &str); 2] =
    [("ghs_", "a GitHub App installation token"), ("ya29.", "a Google OAuth 2.0 access token")];

/// The longest string that is read: the longest credential, and quotes around it.
const MAX_BYTES: usize = 17 * 1024;

/// Describes an upstream's credential; `None` if its form is unknown.
pub(super) fn read(text: &str, view: View<'_>) -> Option<Reading> {
    let text = text.trim();
    if text.len() > MAX_BYTES {
        return None;
    }
    if let Some((_, what)) = BEGINNINGS.iter().find(|(beginning, _)| is_one(text, beginning)) {
        let mut reading = Reading::opaque();
        reading.add_line("what", *what);
        reading.warn("credential", "is opaque: only its issuer knows its owner and expiry");
        return Some(reading);
    }
    let servers: Vec<Map<String, Value>> = match serde_json::from_str(text).ok()? {
        Value::Array(servers) => servers.into_iter().map(object).collect::<Option<_>>()?,
        server => vec![object(server)?],
    };
    let has_address = |it: &Map<String, Value>| it.contains_key("urls") || it.contains_key("url");
    if servers.is_empty() || !servers.iter().all(has_address) {
        return None;
    }
    Some(ice_servers(&servers, view))
}

/// Describes a token of an emulated upstream; `None` for any other token.
pub(super) fn read_sandbox_token(token: &Jwt) -> Option<Reading> {
    if token.claims.get("iss")? != ISSUER {
        return None;
    }
    let mut reading = Reading::of(token);
    reading.needs_no_iat = true;
    reading.add_line("what", "a shared credential of the sandbox, which no provider accepts");
    reading.add_claim("token id", "jti");
    Some(reading)
}

/// Whether a string is one word with this prefix.
fn is_one(text: &str, beginning: &str) -> bool {
    text.strip_prefix(beginning)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()))
}

fn object(value: Value) -> Option<Map<String, Value>> {
    match value {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

/// Describes servers that a browser connects through.
fn ice_servers(servers: &[Map<String, Value>], view: View<'_>) -> Reading {
    let mut reading = Reading::opaque();
    reading.add_line("what", "ICE servers for WebRTC");
    for server in servers {
        let urls = match server.get("urls").or_else(|| server.get("url")) {
            Some(Value::Array(urls)) => urls.iter().map(plain).collect::<Vec<_>>().join(", "),
            Some(url) => plain(url),
            None => continue,
        };
        reading.add_line("for", urls);
        if let Some(user) = server.get("username") {
            reading.add_line("user", plain(user));
        }
        if let Some(credential) = server.get("credential") {
            reading
                .add_line("password", view.mask.map_or_else(|| plain(credential), str::to_owned));
        }
    }
    if servers.iter().any(|server| !server.contains_key("urls")) {
        reading.warn("url", "is the old name; browsers read urls");
    }
    let has_password = |it: &Map<String, Value>| it.contains_key("credential");
    if !servers.iter().any(has_password) {
        reading.warn("credential", "is missing; TURN servers require it");
    }
    reading
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::WallTime;

    const VIEW: View<'_> = View { now: WallTime::from_unix_seconds(0), mask: Some("(hidden)") };

    fn described(text: &str) -> Option<String> {
        let reading = read(text, VIEW)?;
        let lines = reading.lines.iter().map(|line| format!("{} {}", line.label, line.text));
        let warnings = reading.warnings.iter().map(|warning| format!("warning {}", warning.about));
        Some(lines.chain(warnings).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn credentials_are_recognized_by_their_form() {
        let github = "what a GitHub App installation token; warning credential";
        assert_eq!(described(" ghs_16C7e42F292c6912\n").as_deref(), Some(github));
        let servers = r#"[{"urls": ["stun:a", "turn:b"], "username": "u", "credential": "hush"}]"#;
        let ice = "what ICE servers for WebRTC; for stun:a, turn:b; user u; password (hidden)";
        assert_eq!(described(servers).as_deref(), Some(ice));
        let old = r#"{"url": "stun:a"}"#;
        let ice = "what ICE servers for WebRTC; for stun:a; warning url; warning credential";
        assert_eq!(described(old).as_deref(), Some(ice));
        for other in ["", "ghs_", "ghs_a b", "[]", "{}", "[1]", r#"[{"a": 1}]"#, "hello", "7"] {
            assert_eq!(described(other), None, "{other}");
        }
    }
}
