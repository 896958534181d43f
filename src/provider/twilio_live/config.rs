//! The kind's own part of a profile's configuration.

use http::Uri;

use super::{
    ids::{AccountSid, ApiKeySecret, ApiKeySid},
    token::ExtraGrants,
};
use crate::settings::Section;

/// What a `twilio-live` profile says beside the keys that all kinds have.
#[derive(Clone, Debug)]
pub struct Config {
    /// The account that grants and tokens belong to.
    pub account_sid: AccountSid,
    /// The API key that fetches grants and signs tokens; a Main or Standard key.
    pub api_key_sid: ApiKeySid,
    /// Its secret.
    pub api_key_secret: ApiKeySecret,
    /// The origin that may play; none for any.
    pub allow_origin: Option<String>,
    /// The upstream's base URL.
    pub upstream: Uri,
    /// The key's home region (`twr`); none for us1.
    pub region: Option<String>,
    /// How many seconds before its issue a token's `nbf` lies; none for no `nbf`.
    pub nbf_backdate: Option<u32>,
    /// Constant grants beside the player's.
    pub grants: ExtraGrants,
}

impl Config {
    /// Reads the kind's keys.
    pub fn read(_section: &mut Section<'_>) -> Option<Self> {
        None
    }

    pub(in super::super) fn account(&self) -> String {
        format!("{} {}", self.upstream, self.account_sid)
    }

    pub(in super::super) fn against(self, upstream: &Uri) -> Self {
        Self { upstream: upstream.clone(), ..self }
    }
}
