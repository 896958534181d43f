//! The playback token, for one channel.

use serde_json::Map;

use super::params::SINGLE_USE;
use crate::{
    provider::{Tokens, header, ivs::ALGORITHM},
    token::claims::{Conflict, Id, Table, Value},
};

/// The header and claims: "Generate and Sign IVS Playback Tokens".
pub(super) fn table(tokens: &Tokens) -> Result<Table, Conflict> {
    let mut table = Table::new(header::of(ALGORITHM, Map::new()));
    tokens.add_times(&mut table)?;
    table.add(&["aws:channel-arn"], tokens.resource())?;
    // With the profile's consent, the claim is a unique ID.
    let mut others = tokens.clone();
    others.declared.retain(|parameter| parameter.name != SINGLE_USE);
    others.add_params(&mut table)?;
    if tokens.has_identity {
        table.add(&["aws:viewer-id"], Value::Identity)?;
    }
    if tokens.constants.get(SINGLE_USE) == Some(&true.into()) {
        table.add(&["aws:single-use-uuid"], Value::Id(Id::Uuid))?;
    }
    Ok(table)
}
