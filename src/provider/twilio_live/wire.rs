//! The wire of the `PlaybackGrant` endpoint: path, form and answer.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use zeroize::Zeroizing;

use super::ids::{AccountSid, PlayerStreamerSid};
use crate::{
    grant::{Content, Fault, FaultClass},
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

/// The token in a playback URL.
fn playback_token(url: &str) -> Option<&str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("token="))
}

/// Whether a token's readers can bear a grant, which they find two levels down: many parse by
/// recursion and go no deeper than `serde_json` does.
fn is_readable(grant: &RawValue) -> bool {
    let nested = Zeroizing::new(format!("[[{}]]", grant.get()));
    serde_json::from_str::<Value>(&nested).is_ok()
}

/// When the token in a playback URL was issued and when it ends, in Unix seconds; none where
/// it does not say.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub struct PlaybackTimes {
    /// Its `iat`.
    #[serde(rename = "iat")]
    pub issued: Option<f64>,
    /// Its `exp`.
    #[serde(rename = "exp")]
    pub ends: Option<f64>,
}

impl PlaybackTimes {
    /// Those of the token in `url`; none without a token whose claims can be read. Nothing is
    /// verified.
    #[must_use]
    pub fn in_url(url: &str) -> Option<Self> {
        playback_token(url).and_then(Self::in_token)
    }

    fn in_token(token: &str) -> Option<Self> {
        let claims = token.split('.').nth(1)?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    /// The life in whole seconds that it says it has; none without both its times.
    fn life(self) -> Option<u64> {
        // Saturates, and takes what is no number as 0.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let life = (self.ends? - self.issued?) as u64;
        Some(life)
    }
}
