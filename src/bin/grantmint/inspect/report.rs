//! What there is to tell of a token.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    decode::{Decoded, decode},
    moment::Moment,
};

/// What a token says of itself; texts are its own and not to be trusted.
#[derive(Serialize)]
pub(super) struct Report {
    algorithm: Option<String>,
    r#type: Option<String>,
    content_type: Option<String>,
    region: Option<String>,
    account: Option<String>,
    key: Option<String>,
    identity: Option<String>,
    token_id: Option<String>,
    issue_time: Option<Moment>,
    start_time: Option<Moment>,
    expire_time: Option<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    player: Option<Player>,
    /// The grants beside the player's.
    other_grants: BTreeMap<String, Value>,
    dies_first: Option<Death>,
    #[serde(skip)]
    now: i64,
}

/// The player's grant.
#[derive(Serialize)]
struct Player {
    playback_host: Option<String>,
    streamer_sid: Option<String>,
    /// When the token in its playback URL ends.
    playback_end_time: Option<Moment>,
    /// A bearer secret: only if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    playback_url: Option<String>,
}

/// What ends first.
#[derive(Serialize)]
struct Death {
    what: &'static str,
    time: Moment,
    in_seconds: i64,
}

const TOKEN: &str = "token";
const PLAYBACK: &str = "playback token";

impl Report {
    /// Tells of a token at `now`, in Unix seconds.
    pub(super) fn new(token: &Decoded, now: i64, show_grant: bool) -> Self {
        let Decoded { header, claims } = token;
        let grants = claims.get("grants").and_then(Value::as_object).cloned().unwrap_or_default();
        let expire_time = Moment::read(claims.get("exp"));
        let player = grants.get("player").map(|grant| Player::new(grant, show_grant));
        let playback_end = player.as_ref().and_then(|player| player.playback_end_time);
        let ends = [(PLAYBACK, playback_end), (TOKEN, expire_time)];
        let dies_first = ends
            .into_iter()
            .filter_map(|(what, end)| Some((what, end?)))
            .min_by_key(|(_, end)| *end)
            .map(|(what, time)| Death { what, time, in_seconds: time.seconds_from(now) });
        Self {
            algorithm: text(header, "alg"),
            r#type: text(header, "typ"),
            content_type: text(header, "cty"),
            region: text(header, "twr"),
            account: text(claims, "sub"),
            key: text(claims, "iss"),
            identity: text(&grants, "identity"),
            token_id: text(claims, "jti"),
            issue_time: Moment::read(claims.get("iat")),
            start_time: Moment::read(claims.get("nbf")),
            expire_time,
            player,
            other_grants: grants
                .into_iter()
                .filter(|(name, _)| name != "player" && name != "identity")
                .collect(),
            dies_first,
            now,
        }
    }
}

impl Player {
    fn new(grant: &Value, show_grant: bool) -> Self {
        let url = grant.get("playbackUrl").and_then(Value::as_str);
        Self {
            playback_host: url.and_then(host),
            streamer_sid: grant.get("playerStreamerSid").and_then(Value::as_str).map(str::to_owned),
            playback_end_time: url.and_then(playback_end),
            playback_url: url.filter(|_| show_grant).map(str::to_owned),
        }
    }
}

fn host(url: &str) -> Option<String> {
    let url: http::Uri = url.parse().ok()?;
    url.host().map(str::to_owned)
}

/// When the first JWT with an `exp` among the query's values ends.
fn playback_end(url: &str) -> Option<Moment> {
    let (_, query) = url.split_once('?')?;
    form_urlencoded::parse(query.as_bytes())
        .find_map(|(_, value)| Moment::read(decode(&value).ok()?.claims.get("exp")))
}

/// A member as text, whatever it is.
fn text(members: &Map<String, Value>, name: &str) -> Option<String> {
    match members.get(name)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A text that moves no cursor and hides nothing on a terminal.
fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' | '\\' => shown.push(character),
            _ => shown.extend(character.escape_debug()),
        }
    }
    shown
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: &str| writeln!(f, "{name:<12}{value}");

        let kind = [&self.r#type, &self.content_type].into_iter().flatten();
        let kind: Vec<_> = kind.map(String::as_str).collect();
        let kind = Some(kind.join(", ")).filter(|kind| !kind.is_empty());
        line("type", &said(kind.as_ref()))?;
        line("algorithm", &format!("{} (signature not verified)", said(self.algorithm.as_ref())))?;
        line("account", &said(self.account.as_ref()))?;
        line("key", &said(self.key.as_ref()))?;
        if self.region.is_some() {
            line("region", &said(self.region.as_ref()))?;
        }
        line("identity", &said(self.identity.as_ref()))?;
        line("token id", &said(self.token_id.as_ref()))?;

        line("issued", &self.told(self.issue_time))?;
        if self.start_time.is_some() {
            line("starts", &self.told(self.start_time))?;
        } else {
            line("starts", "at once")?;
        }
        line("ends", &self.told(self.expire_time))?;

        if let Some(player) = &self.player {
            let host = said(player.playback_host.as_ref());
            let streamer = said(player.streamer_sid.as_ref());
            line("grant", &format!("player: host {host}, PlayerStreamer {streamer}"))?;
            if player.playback_end_time.is_some() {
                let end = self.told(player.playback_end_time);
                line("", &format!("its playback token ends {end}"))?;
            }
            if let Some(url) = &player.playback_url {
                line("", &format!("playback URL {}", shown(url)))?;
            }
        }
        for (name, grant) in &self.other_grants {
            line("grant", &format!("{}: {}", shown(name), shown(&grant.to_string())))?;
        }
        if self.player.is_none() && self.other_grants.is_empty() {
            line("grant", "none")?;
        }

        match &self.dies_first {
            Some(Death { what, time, .. }) => {
                line("dies first", &format!("the {what}, {}", time.told(self.now)))
            }
            None => line("dies first", "nothing in it says when it ends"),
        }
    }
}

impl Report {
    fn told(&self, time: Option<Moment>) -> String {
        const UNREAD: &str = "not said, or in no form that can be read";
        time.map_or_else(|| UNREAD.to_owned(), |time| time.told(self.now))
    }
}

fn said(text: Option<&String>) -> String {
    text.map_or_else(|| "not said".to_owned(), |text| shown(text))
}
