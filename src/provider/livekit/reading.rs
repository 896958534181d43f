//! Describes LiveKit tokens, including those from other issuers.

use serde_json::{Map, Value};

use super::params::{RIGHTS, SERVER_RIGHTS};
use crate::reading::{Jwt, Reading, words::plain};

/// Describes a token with rights in rooms; `None` for any other JWT.
pub(super) fn read(token: &Jwt) -> Option<Reading> {
    let video = token.claims.get("video")?.as_object()?;
    let mut reading = Reading::of(token);
    // LiveKit's libraries write the issue time to `nbf`, and no `iat`.
    reading.validity.issued = reading.validity.issued.or(reading.validity.starts);
    // Its verifiers in Go, Rust, Python and Node allow at least 10 s.
    reading.has_leeway = true;
    reading.needs_no_iat = true;
    reading.add_claim("identity", "sub");
    reading.add_line("for", room(video));
    let rights = rights(video);
    if !rights.is_empty() {
        reading.add_line("rights", rights.join(", "));
    }
    for (label, claim) in [("name", "name"), ("key", "iss"), ("token id", "jti")] {
        reading.add_claim(label, claim);
    }
    add_warnings(token, video, &mut reading);
    Some(reading)
}

fn is_true(video: &Map<String, Value>, right: &str) -> bool {
    video.get(right) == Some(&Value::Bool(true))
}

fn room(video: &Map<String, Value>) -> String {
    match video.get("room") {
        Some(Value::String(room)) if !room.is_empty() => {
            format!("the room {}", room.escape_debug())
        }
        _ if is_true(video, "roomJoin") => "any room".to_owned(),
        _ => "no room".to_owned(),
    }
}

/// The granted and denied rights, in LiveKit's terms.
fn rights(video: &Map<String, Value>) -> Vec<String> {
    let flags = video.iter().filter_map(|(right, value)| match value {
        Value::Bool(true) => Some(right.escape_debug().to_string()),
        Value::Bool(false) => Some(format!("not {}", right.escape_debug())),
        _ => None,
    });
    flags.collect()
}

fn add_warnings(token: &Jwt, video: &Map<String, Value>, reading: &mut Reading) {
    if is_true(video, "roomJoin") && !video.get("room").is_some_and(|room| room != "") {
        reading.warn("video", "names no room: its bearer can join any room of the server");
    }
    let server_rights = SERVER_RIGHTS.into_iter().map(|(_, right)| right);
    for right in server_rights.filter(|right| is_true(video, right)) {
        reading.warn("video", format!("{right} is a right over the whole server"));
    }
    if is_true(video, "roomAdmin") {
        reading.warn("video", "roomAdmin: its bearer can remove and mute others in the room");
    }
    if video.get("canPublishSources").is_some_and(|sources| *sources == Value::Array(Vec::new())) {
        reading.warn("video", "canPublishSources is empty, which restricts nothing");
    }
    if is_true(video, "roomJoin") && token.text("sub").is_none_or(str::is_empty) {
        reading.warn("sub", "is missing; LiveKit refuses to join without an identity");
    }
    let flags = RIGHTS.into_iter().chain(SERVER_RIGHTS).map(|(_, right)| right);
    let text_flags = flags.filter(|right| video.get(*right).is_some_and(Value::is_string));
    for right in text_flags {
        reading.warn("video", format!("{right} is a string; typed verifiers refuse the token"));
    }
    if let Some(metadata) = token.claims.get("metadata").filter(|it| !it.is_string()) {
        let kind = if metadata.is_object() { "an object" } else { "not a string" };
        reading.warn("metadata", format!("is {kind}; typed verifiers refuse the token"));
    }
    if let Some(sub) = token.claims.get("sub").filter(|sub| !sub.is_string()) {
        reading.warn("sub", format!("is not a string: {}", plain(sub)));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::reading::unsigned;

    fn warnings(claims: &Value) -> Vec<String> {
        let reading = read(&unsigned(&json!({"alg": "HS256"}), claims)).unwrap();
        reading
            .warnings
            .into_iter()
            .map(|warning| format!("{} {}", warning.about, warning.message))
            .collect()
    }

    #[test]
    fn dangerous_or_refused_claims_are_reported() {
        let viewer = json!({"sub": "alice", "nbf": 1, "exp": 2, "metadata": "{}",
            "video": {"roomJoin": true, "room": "lobby", "canPublish": false}});
        assert_eq!(warnings(&viewer), [""; 0]);
        for (claims, expected) in [
            (json!({"sub": "a", "video": {"roomJoin": true}}), "names no room"),
            (json!({"sub": "a", "video": {"roomJoin": true, "room": ""}}), "names no room"),
            (json!({"video": {"roomJoin": true, "room": "a"}}), "sub is missing"),
            (json!({"video": {"roomCreate": true}}), "roomCreate is a right over the whole"),
            (json!({"video": {"roomAdmin": true, "room": "a"}}), "remove and mute"),
            (json!({"video": {"canPublishSources": []}}), "restricts nothing"),
            (json!({"video": {"canPublish": "false"}}), "canPublish is a string"),
            (json!({"video": {}, "metadata": {"seat": 1}}), "metadata is an object"),
        ] {
            let warnings = warnings(&claims);
            assert!(
                matches!(&warnings[..], [only] if only.contains(expected)),
                "{claims}: {warnings:?}"
            );
        }
    }

    #[test]
    fn token_of_another_kind_is_not_read() {
        for claims in
            [json!({"sub": "a"}), json!({"video": true}), json!({"grants": {"video": {}}})]
        {
            assert!(read(&unsigned(&json!({"alg": "HS256"}), &claims)).is_none(), "{claims}");
        }
    }
}
