//! Mux's token, for one playback ID or one counted object.

use serde_json::Map;

use super::config::{ALGORITHM, Config};
use crate::{
    provider::{Tokens, header},
    token::claims::{Conflict, Table, Value},
};

/// The header and claims. The key ID is a claim, as in Mux's libraries since version 8.
pub(super) fn table(config: &Config, tokens: &Tokens) -> Result<Table, Conflict> {
    let mut table = Table::new(header::of(ALGORITHM, Map::new()));
    table.add(&["kid"], Value::Constant(config.signing_key_id.as_str().into()))?;
    tokens.add_times(&mut table)?;
    table.add(&["sub"], tokens.resource())?;
    tokens.add_params(&mut table)?;
    Ok(table)
}
