//! What the grants of an Access Token are for. Member names: Twilio's helper libraries.

use serde_json::{Map, Value};

use crate::reading::words::plain;

/// What a token with these grants is for, a line each.
pub(super) fn things(grants: Option<&Map<String, Value>>) -> Vec<String> {
    let grants = grants.into_iter().flatten().filter(|(name, _)| *name != "identity");
    let things: Vec<_> = grants.map(|(product, grant)| thing(product, grant)).collect();
    if things.is_empty() { vec!["nothing stated".to_owned()] } else { things }
}

/// What a product's grant is for.
fn thing(product: &str, grant: &Value) -> String {
    match product {
        "player" => player(grant),
        "video" => member(grant, "room")
            .map_or_else(|| "video: any room".to_owned(), |room| format!("video: room {room}")),
        "voice" => voice(grant),
        "chat" => named("conversations", grant, &["service_sid", "endpoint_id"]),
        "data_sync" => named("sync", grant, &["service_sid", "endpoint_id"]),
        "task_router" => named("task router", grant, &["workspace_sid", "worker_sid", "role"]),
        other => format!("{}: {}", other.escape_debug(), plain(grant)),
    }
}

fn player(grant: &Value) -> String {
    match (member(grant, "playerStreamerSid"), member(grant, "playbackUrl")) {
        (Some(streamer), Some(url)) => {
            let url = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            let host = url.split(['/', '?']).next().unwrap_or_default();
            format!("the player of {streamer}, at {host}")
        }
        _ => format!("the player: {}", plain(grant)),
    }
}

fn voice(grant: &Value) -> String {
    let takes = grant.pointer("/incoming/allow") == Some(&Value::Bool(true));
    let application = grant.pointer("/outgoing/application_sid").map(plain);
    let calls = [
        takes.then(|| "receives calls".to_owned()),
        application.map(|sid| format!("calls by application {sid}")),
    ];
    with_details("voice", calls)
}

fn named(what: &str, grant: &Value, members: &[&str]) -> String {
    let details = members.iter().map(|name| Some(format!("{name} {}", member(grant, name)?)));
    with_details(what, details)
}

fn with_details(what: &str, details: impl IntoIterator<Item = Option<String>>) -> String {
    let details: Vec<_> = details.into_iter().flatten().collect();
    if details.is_empty() { what.to_owned() } else { format!("{what}: {}", details.join(", ")) }
}

fn member(grant: &Value, name: &str) -> Option<String> {
    grant.get(name).filter(|it| !it.is_null()).map(plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_grant_is_described() {
        for (product, grant, expected) in [
            ("video", json!({}), "video: any room"),
            ("video", json!({"room": "a\nb"}), "video: room a\\nb"),
            ("voice", json!({}), "voice"),
            (
                "voice",
                json!({"incoming": {"allow": true}, "outgoing": {"application_sid": "AP1"}}),
                "voice: receives calls, calls by application AP1",
            ),
            ("chat", json!({"service_sid": "IS1"}), "conversations: service_sid IS1"),
            ("task_router", json!({"role": "worker"}), "task router: role worker"),
            ("player", json!(null), "the player: null"),
            ("rtc", json!({"a": 1}), "rtc: {\"a\":1}"),
        ] {
            assert_eq!(thing(product, &grant), expected);
        }
        assert_eq!(things(None), ["nothing stated"]);
    }
}
