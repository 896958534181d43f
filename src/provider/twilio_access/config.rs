//! The kind's own configuration keys.

use serde_json::{Value, json};

use crate::{
    provider::{
        secret::KeySecret,
        twilio::{
            SECRET, SID,
            grants::{EMPTY_ROOM, ProductGrants},
            ids::{AccountSid, ApiKeySid},
            parse_region,
        },
    },
    settings::Section,
};

/// The own keys of a `twilio-access` profile.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) account_sid: AccountSid,
    pub(super) api_key_sid: ApiKeySid,
    pub(super) api_key_secret: KeySecret,
    /// The key's home region (`twr`); `None` for us1.
    pub(super) region: Option<String>,
    /// The products that tokens are for.
    pub(super) grants: ProductGrants,
}

impl Config {
    /// Reads the kind's keys except the grants.
    pub(super) fn read(section: &mut Section<'_>, grants: Option<ProductGrants>) -> Option<Self> {
        let account_sid = section.required("account_sid", AccountSid::parse);
        let api_key_sid = section.key_name(SID, ApiKeySid::parse);
        let api_key_secret = KeySecret::read(section, SECRET);
        let region = section.parsed("region", parse_region);
        Some(Self {
            account_sid: account_sid?,
            api_key_sid: api_key_sid?,
            api_key_secret: api_key_secret?,
            region,
            grants: grants?,
        })
    }

    /// The keys for display.
    pub(super) fn keys(&self) -> Vec<(&'static str, Value)> {
        let mut keys = vec![
            ("account_sid", json!(self.account_sid.as_str())),
            ("api_key_sid", json!(self.api_key_sid.as_str())),
        ];
        keys.extend(self.api_key_secret.shown());
        keys.extend(self.region.as_ref().map(|region| ("region", json!(region))));
        keys.push(("grants", json!(self.grants)));
        keys
    }
}

/// The products that tokens are for, at least one.
pub(super) fn read_grants(section: &mut Section<'_>) -> Option<ProductGrants> {
    if !section.has("grants") {
        section.problem("grants", NO_PRODUCT);
        return None;
    }
    let grants: ProductGrants = section.deserialized("grants")?;
    if grants == ProductGrants::default() {
        section.problem("grants", NO_PRODUCT);
    }
    if grants.names_empty_room() {
        section.problem("grants", EMPTY_ROOM);
        return None;
    }
    let no_parameter = match &grants.voice {
        None => "has no effect here: the only parameter is incoming, of grants.voice",
        Some(voice) if voice.incoming.is_some() => {
            "conflicts with grants.voice.incoming, which sets it for all tokens: keep one of them"
        }
        Some(_) => return Some(grants),
    };
    for key in ["params", "caller_params"] {
        section.refuse(key, no_parameter);
    }
    Some(grants)
}

const NO_PRODUCT: &str = "needs at least one product, as in [profiles.NAME.grants.video]: video, \
                          voice, chat, data_sync, task_router";
