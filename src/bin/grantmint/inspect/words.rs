//! A token in words.

use grantmint::clock::WallTime;
use serde_json::Value;

use super::{
    oddities::Oddity,
    signature::Signature,
    token::{End, Mortal, Token},
};
use crate::client::{stamp, utc, wall};

/// Whose, for what, from when to when, what dies first, who signed it, and what is odd.
pub(super) fn lines(
    token: &Token,
    ends: &[End],
    signature: Signature,
    oddities: &[Oddity],
    now: WallTime,
) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |what: &str, said: &str| lines.push(format!("{what:<12}{said}"));

    line("whose", &token.grant("identity").map_or_else(|| "nobody's".to_owned(), plain));
    let grants = token.grants().into_iter().flatten().filter(|(name, _)| *name != "identity");
    let mut things: Vec<_> = grants.map(|(product, grant)| thing(product, grant)).collect();
    if things.is_empty() {
        things.push("nothing that is told".to_owned());
    }
    for thing in &things {
        line("for", thing);
    }
    if let Some(url) = token.playback_url() {
        line("playback", &url.escape_debug().to_string());
    }
    for (word, claim) in [("account", "sub"), ("key", "iss"), ("token id", "jti")] {
        if let Some(value) = token.claims.get(claim) {
            line(word, &plain(value));
        }
    }
    if let Some(region) = token.header.get("twr").filter(|region| !region.is_null()) {
        line("region", &plain(region));
    }
    for (word, claim) in [("issued", "iat"), ("starts", "nbf"), ("ends", "exp")] {
        if let Some(at) = token.time(claim) {
            line(word, &when(at, now));
        }
    }
    match ends {
        [] => line("dies first", "nothing in it says when it ends"),
        [first, ..] => {
            let what = match first.what {
                Mortal::Token => "the token",
                Mortal::PlayersGrant => {
                    "the player's grant: from then on no player connects with it"
                }
            };
            line("dies first", &format!("{}, {what}", when(first.at, now)));
        }
    }
    let algorithm = token.header.get("alg").map_or_else(|| "no alg".to_owned(), plain);
    line("signature", &format!("{algorithm}, {}", signature.words()));
    for odd in oddities {
        line("odd", &format!("{}: {}", odd.about, odd.message));
    }
    lines
}

/// What a grant of a product is for. Member names: Twilio's helper libraries.
fn thing(product: &str, grant: &Value) -> String {
    let member = |name: &str| grant.get(name).filter(|it| !it.is_null()).map(plain);
    let named = |what: &str, members: &[&str]| {
        let told = members.iter().filter_map(|name| Some(format!("{name} {}", member(name)?)));
        let told: Vec<_> = told.collect();
        if told.is_empty() { what.to_owned() } else { format!("{what}: {}", told.join(", ")) }
    };
    match product {
        "player" => match (member("playerStreamerSid"), member("playbackUrl")) {
            (Some(streamer), Some(url)) => {
                let url = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                let host = url.split(['/', '?']).next().unwrap_or_default();
                format!("the player of {streamer}, at {host}")
            }
            _ => format!("the player: {}", plain(grant)),
        },
        "video" => member("room")
            .map_or_else(|| "video: any room".to_owned(), |room| format!("video: room {room}")),
        "voice" => {
            let takes = grant.pointer("/incoming/allow") == Some(&Value::Bool(true));
            let application = grant.pointer("/outgoing/application_sid").map(plain);
            let calls = [
                takes.then(|| "takes calls".to_owned()),
                application.map(|sid| format!("calls by application {sid}")),
            ];
            let calls: Vec<_> = calls.into_iter().flatten().collect();
            if calls.is_empty() {
                "voice".to_owned()
            } else {
                format!("voice: {}", calls.join(", "))
            }
        }
        "chat" => named("conversations", &["service_sid", "endpoint_id"]),
        "data_sync" => named("sync", &["service_sid", "endpoint_id"]),
        "task_router" => named("task router", &["workspace_sid", "worker_sid", "role"]),
        other => format!("{}: {}", other.escape_debug(), plain(grant)),
    }
}

/// A text without its quotes, anything else as JSON; control characters are escaped.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.escape_debug().to_string(),
        other => other.to_string(),
    }
}

/// A time, and how far from now it lies.
fn when(at: i64, now: WallTime) -> String {
    let at = stamp(at);
    let (told, then) = (utc(Some(&at)), wall(&at));
    if then >= now {
        format!("{told} (in {})", length(then.since(now).as_secs()))
    } else {
        format!("{told} ({} ago)", length(now.since(then).as_secs()))
    }
}

/// A length of time in the unit that suits it.
pub(super) fn length(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::{oddities, token::tests::vectors},
        *,
    };

    fn told(mut token: Token, now: i64) -> String {
        let now = WallTime::from_unix_seconds(now);
        let (ends, odd) = (token.ends(), oddities::of(&token, now));
        token.hide_grant();
        lines(&token, &ends, Signature::NotChecked, &odd, now).join("\n")
    }

    #[test]
    fn a_token_is_told_in_words() {
        let text = told(Token::decode(&vectors()[0].1).unwrap(), 1_700_000_000);
        for line in [
            "whose       alice\n",
            "for         the player of VJa1b2c3d4e5f60718293a4b5c6d7e8f90, at f99084460c35.us-east-1.playback.live-video.net\n",
            "playback    https://f99084460c35.us-east-1.playback.live-video.net/api/video",
            "account     AC0123456789abcdef0123456789abcdef\n",
            "key         SKfedcba9876543210fedcba9876543210\n",
            "ends        2023-11-14T23:13:20.000Z (in 60 min)\n",
            "dies first  2023-11-14T22:14:20.000Z (in 60 s), the player's grant: from then on",
            "signature   HS256, not checked; give the API key's secret with --key-file FILE\n",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("token=eyJ"), "{text}");
    }

    #[test]
    fn tokens_of_every_library_and_product_are_told() {
        let vectors = vectors();
        assert!(vectors.len() > 80);
        for (id, jwt) in vectors {
            let text = told(Token::decode(&jwt).unwrap(), 1_700_000_005);
            assert!(text.lines().count() > 6, "{id}: {text}");
            assert!(text.lines().any(|line| line.starts_with("whose")), "{id}: {text}");
        }
    }
    #[test]
    fn what_each_grant_is_for_is_told() {
        for (product, grant, meant) in [
            ("video", json!({}), "video: any room"),
            ("video", json!({"room": "a\nb"}), "video: room a\\nb"),
            ("voice", json!({}), "voice"),
            (
                "voice",
                json!({"incoming": {"allow": true}, "outgoing": {"application_sid": "AP1"}}),
                "voice: takes calls, calls by application AP1",
            ),
            ("chat", json!({"service_sid": "IS1"}), "conversations: service_sid IS1"),
            ("task_router", json!({"role": "worker"}), "task router: role worker"),
            ("player", json!(null), "the player: null"),
            ("rtc", json!({"a": 1}), "rtc: {\"a\":1}"),
        ] {
            assert_eq!(thing(product, &grant), meant);
        }
    }
}
