//! The wire of the `PlaybackGrant` endpoint: path, form and answer.

#[cfg(test)]
mod tests;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::ids::{AccountSid, PlayerStreamerSid};
use crate::grant::{Fault, FaultClass};

/// The form's life in seconds.
pub const TTL: &str = "Ttl";

/// The form's origin that may play.
pub const ALLOW_ORIGIN: &str = "AccessControlAllowOrigin";

/// The longest grant that is taken: every token carries it whole, in a header most often.
const MAX_GRANT_BYTES: usize = 16 * 1024;

/// The deepest grant that is taken. A token's readers may parse by recursion, and go no deeper
/// (`serde_json` stops here).
const MAX_DEPTH: usize = 128;

/// Where a `PlayerStreamer`'s grants are created, below the upstream's base URL.
#[must_use]
pub fn path(sid: &str) -> String {
    format!("/v1/PlayerStreamers/{sid}/PlaybackGrant")
}

/// The members of an answer that matter; unknown ones are passed over.
#[derive(Deserialize)]
struct Answer {
    sid: Option<String>,
    account_sid: Option<String>,
    grant: Option<Box<RawValue>>,
}

/// The members of the grant that are looked at; the grant itself travels as raw JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlaybackGrant {
    playback_url: String,
    player_streamer_sid: String,
}

/// Takes the grant out of an answer's body.
///
/// `sid`, `account_sid` and `grant.playerStreamerSid` must be what was asked for, where they
/// are there: a grant for somebody else must never reach a token.
pub(super) fn read_answer(
    body: &[u8],
    account: &AccountSid,
    streamer: &PlayerStreamerSid,
) -> Result<(Box<RawValue>, Option<u64>), Fault> {
    const MALFORMED: Fault = Fault::new(FaultClass::Transient, "MALFORMED_ANSWER");

    let answer: Answer = serde_json::from_slice(body).map_err(|_| MALFORMED)?;
    let raw = answer.grant.ok_or(MALFORMED)?;
    // A grant given as an array would read as its members in order.
    if !raw.get().starts_with('{') || raw.get().len() > MAX_GRANT_BYTES {
        return Err(MALFORMED);
    }
    if depth(raw.get()) > MAX_DEPTH {
        return Err(MALFORMED);
    }
    let grant: PlaybackGrant = serde_json::from_str(raw.get()).map_err(|_| MALFORMED)?;
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
    let life = playback_token_life(&grant.playback_url);
    Ok((raw, life))
}

/// How deep the arrays and objects of well-formed JSON lie in each other.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// The life in seconds that the token in a playback URL says it has: its `exp` less its
/// `iat`. Without both, nothing is read from it.
fn playback_token_life(url: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: f64,
        iat: f64,
    }

    let (_, query) = url.split_once('?')?;
    let token = query.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    let claims = token.split('.').nth(1)?;
    let claims = BASE64_URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
    let Claims { exp, iat } = serde_json::from_slice(&claims).ok()?;
    // Saturates, and takes what is no number as 0.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let life = (exp - iat) as u64;
    Some(life)
}
