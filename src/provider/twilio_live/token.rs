//! The Twilio Access Token with a `PlaybackGrant`.
//!
//! Source: Twilio's page "Access Tokens"; member names as its helper libraries emit them.

use super::config::Config;
use crate::{
    provider::twilio::Signatory,
    token::{
        claims::{Conflict, Table, Value},
        hs256::Hs256,
    },
};

/// Twilio's token format for an account and key. `nbf` is how many seconds `nbf` is backdated;
/// `None` means no `nbf`.
#[must_use]
pub fn access_tokens(config: &Config, nbf: Option<u32>) -> Hs256 {
    Hs256::new(table(config, nbf), config.api_key_secret.clone())
}

fn table(config: &Config, nbf: Option<u32>) -> Result<Table, Conflict> {
    let signatory = Signatory {
        account_sid: &config.account_sid,
        api_key_sid: &config.api_key_sid,
        region: config.region.as_deref(),
    };
    let mut table = signatory.table(nbf)?;
    table.add(&["grants", "player"], Value::Grant)?;
    for (product, grant) in config.grants.by_product() {
        table.add(&["grants", &product], Value::Constant(grant))?;
    }
    Ok(table)
}
