//! The wire of the `PlaybackGrant` endpoint: path, form and answer.

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

/// The form's life in seconds.
pub const TTL: &str = "Ttl";

/// The form's origin that may play.
pub const ALLOW_ORIGIN: &str = "AccessControlAllowOrigin";

/// The longest grant that is taken: every token carries it whole, in a header most often.
const MAX_GRANT_BYTES: usize = 16 * 1024;

/// Where a `PlayerStreamer`'s grants are created, below the upstream's base URL.
#[must_use]
pub fn path(sid: &str) -> String {
    format!("/v1/PlayerStreamers/{sid}/PlaybackGrant")
}

/// The members of an answer that matter; unknown ones are passed over.
#[derive(Deserialize)]
struct Answer<'a> {
    sid: Option<String>,
    account_sid: Option<String>,
    #[serde(borrow)]
    grant: Option<&'a RawValue>,
}

/// The members of the grant that are looked at; the grant itself travels as raw JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlaybackGrant<'a> {
    #[serde(borrow)]
    playback_url: Cow<'a, str>,
    player_streamer_sid: String,
}

/// A grant as an answer holds it.
pub struct Answered {
    /// The grant: a JSON object.
    pub content: Content,
    /// The life in whole seconds that its playback token states; none where it does not.
    pub life: Option<u64>,
    /// What tells it from another.
    pub mark: Mark,
}

/// Takes the grant out of an answer's body.
///
/// `sid`, `account_sid` and `grant.playerStreamerSid` must be what was asked for, where they
/// are there: a grant for somebody else must never reach a token.
pub fn read_answer(
    body: &[u8],
    account: &AccountSid,
    streamer: &PlayerStreamerSid,
) -> Result<Answered, Fault> {
    const MALFORMED: Fault = Fault::new(FaultClass::Transient, "MALFORMED_ANSWER");

    let answer: Answer<'_> = json::parse(body)?;
    let raw = answer.grant.ok_or(MALFORMED)?;
    // A grant given as an array would read as its members in order.
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

/// Whether a token's readers can bear a grant, which they find two levels down: many parse by
/// recursion and go no deeper than `serde_json` does.
fn is_readable(grant: &RawValue) -> bool {
    let nested = Zeroizing::new(format!("[[{}]]", grant.get()));
    serde_json::from_str::<Value>(&nested).is_ok()
}
