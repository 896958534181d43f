//! `grantmint inspect`: what a token holds, and what of it ends when.

use std::io;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Args;
use grantmint::{
    clock::{Clock, WallTime},
    provider::twilio_live::wire::PlaybackTimes,
};
use serde_json::{Map, Value, json};

use crate::{
    client::{relative, utc},
    exit::Exit,
    failure::Failure,
    output,
};

/// Says what a token holds and what of it ends when. Nothing is verified: anybody can read a
/// token.
#[derive(Debug, Args)]
pub(crate) struct InspectCommand {
    /// The token; - for standard input
    token: String,
    /// Show the secret part of the playback URL too
    #[arg(long)]
    show_grant: bool,
    /// Write one JSON object: header, claims, ends
    #[arg(long)]
    json: bool,
}

impl InspectCommand {
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        let token = match self.token.as_str() {
            "-" => io::read_to_string(io::stdin()),
            token => Ok(token.to_owned()),
        };
        let Ok(token) = token else { return Err(Failure::for_good("standard input is no text")) };
        let Some(mut token) = Token::decode(token.trim()) else {
            return Err(Failure::for_good(
                "this is no JWT: it should be three base64url parts with dots between them",
            )
            .next("mint one with: grantmint mint alice"));
        };
        let ends = token.ends();
        if !self.show_grant {
            token.hide_grant();
        }
        if self.json {
            let ends: Map<_, _> = ends
                .iter()
                .map(|(what, at)| (what.clone(), json!(utc(Some(&stamp(*at))))))
                .collect();
            let all = json!({"header": token.header, "claims": token.claims, "ends": ends});
            output::data(&all.to_string())?;
        } else {
            let now = Clock::system().now().wall;
            token.lines(&ends, now).iter().try_for_each(|line| output::data(line))?;
        }
        Ok(Exit::Done)
    }
}

/// A token's parts, read but not trusted.
#[derive(Debug, PartialEq)]
struct Token {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Token {
    fn decode(token: &str) -> Option<Self> {
        let mut parts = token.split('.');
        let (header, claims, _signature) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        Some(Self { header: decode_part(header)?, claims: decode_part(claims)? })
    }

    fn grants(&self) -> Option<&Map<String, Value>> {
        self.claims.get("grants")?.as_object()
    }

    fn playback_url(&self) -> Option<&str> {
        self.grants()?.get("player")?.get("playbackUrl")?.as_str()
    }

    /// What ends, and when in Unix seconds; the earliest first.
    fn ends(&self) -> Vec<(String, i64)> {
        let token = self.claims.get("exp").and_then(seconds).map(|at| ("the token", at));
        let playback =
            self.playback_url().and_then(playback_end).map(|at| ("the player's grant", at));
        let mut ends: Vec<_> =
            token.into_iter().chain(playback).map(|(what, at)| (what.to_owned(), at)).collect();
        ends.sort_by_key(|(_, at)| *at);
        ends
    }

    /// Leaves the host and path of the playback URL, without its token.
    fn hide_grant(&mut self) {
        let url = self
            .claims
            .get_mut("grants")
            .and_then(|grants| grants.get_mut("player")?.get_mut("playbackUrl"));
        if let Some(Value::String(url)) = url
            && let Some((open, _)) = url.split_once('?')
        {
            *url = format!("{open}?(hidden; show it with --show-grant)");
        }
    }

    fn lines(&self, ends: &[(String, i64)], now: WallTime) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = |what: &str, said: String| lines.push(format!("{what:<12}{said}"));
        for (name, value) in &self.header {
            line(name, plain(value));
        }
        let named = [("account", "sub"), ("key", "iss"), ("token id", "jti")]
            .into_iter()
            .filter_map(|(word, claim)| Some((word, plain(self.claims.get(claim)?))));
        named.for_each(|(word, said)| line(word, said));
        for (name, grant) in self.grants().into_iter().flatten() {
            line(
                if name == "identity" { "identity" } else { "grant" },
                match name.as_str() {
                    "identity" => plain(grant),
                    _ => format!("{name} {grant}"),
                },
            );
        }
        for (word, claim) in [("issued", "iat"), ("starts", "nbf"), ("ends", "exp")] {
            if let Some(at) = self.claims.get(claim).and_then(seconds) {
                line(word, when(at, now));
            }
        }
        match ends {
            [] => line("first", "nothing in it says when it ends".to_owned()),
            [(what, at), ..] => line("first ends", format!("{what}, {}", when(*at, now))),
        }
        lines
    }
}

fn decode_part(part: &str) -> Option<Map<String, Value>> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The end of the token in a playback URL.
fn playback_end(url: &str) -> Option<i64> {
    PlaybackTimes::in_url(url)?.ends.map(whole)
}

/// A `NumericDate`, rounded down.
fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(whole))
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
const fn whole(seconds: f64) -> i64 {
    seconds as i64
}

/// A text without its quotes, anything else as JSON; control characters are escaped.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.escape_debug().to_string(),
        other => other.to_string(),
    }
}

fn when(at: i64, now: WallTime) -> String {
    let at = stamp(at);
    format!("{} ({})", utc(Some(&at)), relative(Some(&at), now))
}

/// Times before 1970 or past the year 9999 are shown as the nearest that can be.
fn stamp(at: i64) -> prost_types::Timestamp {
    const END_OF_9999: i64 = 253_402_300_799;
    prost_types::Timestamp { seconds: at.clamp(0, END_OF_9999), nanos: 0 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const VECTORS: &str = include_str!("../../../tests/vectors/access_tokens.json");

    fn vectors() -> Vec<String> {
        let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
        vectors.iter().filter_map(|vector| Some(vector["jwt"].as_str()?.to_owned())).collect()
    }

    #[test]
    fn tokens_of_every_library_are_read() {
        let now = WallTime::from_unix_seconds(1_700_000_000) + Duration::from_secs(5);
        let tokens = vectors();
        assert!(tokens.len() > 80);
        for token in tokens {
            let token = Token::decode(&token).expect("a JWT");
            assert!(token.lines(&token.ends(), now).len() > 4);
        }
    }

    #[test]
    fn the_secret_part_of_the_grant_is_hidden_and_what_ends_first_is_told() {
        let mut token = Token::decode(&vectors()[0]).unwrap();
        let ends = token.ends();
        let meant = [("the player's grant", 1_700_000_060), ("the token", 1_700_003_600)];
        assert_eq!(ends, meant.map(|(what, at)| (what.to_owned(), at)));
        token.hide_grant();
        let now = WallTime::from_unix_seconds(1_700_000_000);
        let text = token.lines(&ends, now).join("\n");
        assert!(text.contains("live-video.net") && !text.contains("eyJ"), "{text}");
        assert!(
            text.contains("first ends  the player's grant, 2023-11-14T22:14:20.000Z (in 60.0 s)"),
            "{text}"
        );
    }

    #[test]
    fn garbage_is_no_token() {
        for garbage in ["", ".", "..", "a.b.c", "e30.e30", "e30.W10.x", "e30.e30.x.y", "é.é.é"] {
            assert_eq!(Token::decode(garbage), None, "{garbage}");
        }
        let odd = Token::decode("e30.eyJleHAiOjFlMzAwfQ.x").unwrap();
        assert_eq!(odd.lines(&odd.ends(), WallTime::from_unix_seconds(0)).len(), 2);
    }
}
