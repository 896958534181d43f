//! The token in the playback URL of a player's grant.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;

/// The token in a playback URL.
pub(in crate::provider) fn playback_token(url: &str) -> Option<&str> {
    let (_, query) = url.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix("token="))
}

/// When the token in a playback URL was issued and when it expires, in Unix seconds, if stated.
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
    /// The times of the token in `url`; `None` without a token with readable claims. Nothing is
    /// verified.
    #[must_use]
    pub fn in_url(url: &str) -> Option<Self> {
        playback_token(url).and_then(Self::in_token)
    }

    /// The times of this token.
    pub(in crate::provider) fn in_token(token: &str) -> Option<Self> {
        let claims = token.split('.').nth(1)?;
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims.trim_end_matches('=')).ok()?;
        serde_json::from_slice(&claims).ok()
    }

    /// The stated life in whole seconds; `None` unless both times are stated.
    pub(in crate::provider) fn life(self) -> Option<u64> {
        // Saturates; NaN becomes 0.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let life = (self.ends? - self.issued?) as u64;
        Some(life)
    }
}
