//! The claims of the Access Token, and the rules for its identity.

use serde_json::Map;

use super::config::Config;
use crate::{
    name::IdentityForm,
    provider::{
        Tokens,
        twilio::{Signatory, grants::ProductGrants},
    },
    token::{
        claims::{Conflict, Table, Value},
        params::{Parameter, Shape},
    },
};

/// "Video limits": the longest identity in characters.
const MAX_VIDEO_IDENTITY: usize = 128;

/// Whether Video's room is the call's resource.
pub(super) fn room_is_of_call(grants: &ProductGrants) -> bool {
    grants.video.as_ref().is_some_and(|video| video.room.is_none())
}

/// Whether a client receives calls, unless the profile sets it for all. It is omitted unless true,
/// as in Twilio's libraries.
pub(super) fn declared(grants: &ProductGrants) -> Vec<Parameter> {
    let voice = grants.voice.as_ref().filter(|voice| voice.incoming.is_none());
    let incoming = || Parameter::new("incoming", "grants.voice.incoming.allow", Shape::TrueOnly);
    voice.map(|_| incoming()).into_iter().collect()
}

/// The products' rules for identities: "Access Tokens" for Voice, "Video limits" for Video.
pub(super) fn identity_form(grants: &ProductGrants) -> Option<IdentityForm> {
    match (&grants.voice, &grants.video) {
        (None, None) => None,
        (None, Some(_)) => Some(IdentityForm {
            wanted: "exceeds Video's limit of 128 characters",
            fits: fits_video,
        }),
        (Some(_), None) => Some(IdentityForm {
            wanted: "has other characters than the letters, digits and underscores that Voice \
                     allows",
            fits: fits_voice,
        }),
        (Some(_), Some(_)) => Some(IdentityForm {
            wanted: "has more than the 128 letters, digits and underscores that Voice and Video \
                     allow",
            fits: |identity| fits_voice(identity) && fits_video(identity),
        }),
    }
}

fn fits_voice(identity: &str) -> bool {
    identity.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn fits_video(identity: &str) -> bool {
    identity.chars().count() <= MAX_VIDEO_IDENTITY
}

/// The header and claims.
pub(super) fn table(config: &Config, tokens: &Tokens) -> Result<Table, Conflict> {
    let signatory = Signatory {
        account_sid: &config.account_sid,
        api_key_sid: &config.api_key_sid,
        region: config.region.as_deref(),
    };
    let mut table = signatory.table(tokens.nbf)?;
    for (product, grant) in config.grants.by_product() {
        // An empty object ensures that the grant is present even if a call adds nothing to it.
        table.add(&["grants", &product], Value::Constant(Map::new().into()))?;
        let members = grant.as_object().cloned().unwrap_or_default();
        for (name, value) in members {
            table.add(&["grants", &product, &name], Value::Constant(value))?;
        }
    }
    if room_is_of_call(&config.grants) {
        table.add(&["grants", "video", "room"], tokens.resource())?;
    }
    tokens.add_params(&mut table)?;
    Ok(table)
}
