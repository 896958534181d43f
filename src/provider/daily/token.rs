//! Daily's meeting token, for one participant of one room.

use serde_json::Map;

use super::config::Config;
use crate::{
    provider::Tokens,
    token::claims::{Conflict, Table, Value},
};

/// The header and claims: "Self-signing tokens".
pub(super) fn table(config: &Config, tokens: &Tokens) -> Result<Table, Conflict> {
    let header = [("alg", "HS256"), ("typ", "JWT")];
    let header = header.map(|(name, value)| (name.to_owned(), value.into()));
    let mut table = Table::new(Map::from_iter(header));
    table.add(&["d"], Value::Constant(config.domain_id.as_str().into()))?;
    tokens.add_times(&mut table)?;
    table.add(&["r"], tokens.resource())?;
    tokens.add_params(&mut table)?;
    if tokens.has_identity {
        table.add(&["ud"], Value::Identity)?;
    }
    Ok(table)
}
