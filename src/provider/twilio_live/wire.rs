//! The protocol of the `PlaybackGrant` endpoint: path, form and response.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use zeroize::Zeroizing;

use crate::{
    grant::{Content, Fault, FaultClass},
    provider::twilio::{
        ids::{AccountSid, PlayerStreamerSid},
        playback::{PlaybackTimes, playback_token},
    },
    source::{Mark, json},
};

/// The form field for the life in seconds.
pub const TTL: &str = "Ttl";

/// The form field for the origin that may play.
pub const ALLOW_ORIGIN: &str = "AccessControlAllowOrigin";

/// The longest accepted grant: every token contains it, and is usually sent in a header.
const MAX_GRANT_BYTES: usize = 16 * 1024;

/// The path of a `PlayerStreamer`'s grants, below the upstream's base URL.
#[must_use]
pub fn path(sid: &str) -> String {
    format!("/v1/PlayerStreamers/{sid}/PlaybackGrant")
}

/// The used members of a response; others are ignored.
#[derive(Deserialize)]
struct Answer<'a> {
    sid: Option<String>,
    account_sid: Option<String>,
    #[serde(borrow)]
    grant: Option<&'a RawValue>,
}

/// The inspected members of the grant, which itself stays raw JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlaybackGrant<'a> {
    #[serde(borrow)]
    playback_url: Cow<'a, str>,
    player_streamer_sid: String,
}

/// A grant extracted from a response.
pub struct Answered {
    /// The grant: a JSON object.
    pub content: Content,
    /// The life in whole seconds that its playback token states, if any.
    pub life: Option<u64>,
    /// Distinguishes it from other grants.
    pub mark: Mark,
}

/// Extracts the grant from a response body.
///
/// `sid` and `account_sid`, if present, and `grant.playerStreamerSid` must match the request, so
/// that a grant of another resource never reaches a token.
pub fn read_answer(
    body: &[u8],
    account: &AccountSid,
    streamer: &PlayerStreamerSid,
) -> Result<Answered, Fault> {
    const MALFORMED: Fault = Fault::new(FaultClass::Transient, "MALFORMED_ANSWER");

    let answer: Answer<'_> = json::parse(body)?;
    let raw = answer.grant.ok_or(MALFORMED)?;
    // A grant in the form of an array would be parsed as its members in order.
    if !raw.get().starts_with('{') || raw.get().len() > MAX_GRANT_BYTES || !is_readable(raw) {
        return Err(MALFORMED);
    }
    let grant: PlaybackGrant<'_> = serde_json::from_str(raw.get()).map_err(|_| MALFORMED)?;
    if grant.playback_url.is_empty() || grant.player_streamer_sid.is_empty() {
        return Err(MALFORMED);
    }

    if answer.sid.is_some_and(|sid| !streamer.is(&sid)) || !streamer.is(&grant.player_streamer_sid)
    {
        return Err(Fault::new(FaultClass::Misconfigured, "GRANT_OF_ANOTHER_RESOURCE"));
    }
    if answer.account_sid.is_some_and(|sid| !account.is(&sid)) {
        return Err(Fault::new(FaultClass::Misconfigured, "GRANT_OF_ANOTHER_ACCOUNT"));
    }
    let token = playback_token(&grant.playback_url);
    let times = token.and_then(PlaybackTimes::in_token);
    // A cache may return the same token in another URL.
    let mark = Mark::of(token.unwrap_or(&grant.playback_url), times.and_then(|it| it.ends));
    let life = times.and_then(PlaybackTimes::life);
    Ok(Answered { content: raw.get().into(), life, mark })
}

/// Whether the readers of a token can parse the grant, which is two levels down: many parsers
/// recurse and go no deeper than `serde_json`.
fn is_readable(grant: &RawValue) -> bool {
    let nested = Zeroizing::new(format!("[[{}]]", grant.get()));
    serde_json::from_str::<Value>(&nested).is_ok()
}
