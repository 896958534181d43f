//! Daily's meeting token, for one participant of one room.

use jsonwebtoken::Algorithm;
use serde_json::Map;

use super::config::Config;
use crate::{
    provider::{Tokens, header},
    token::claims::{Conflict, Table, Value},
};

/// The header and claims: "Self-signing tokens".
pub(super) fn table(config: &Config, tokens: &Tokens) -> Result<Table, Conflict> {
    let mut table = Table::new(header::of(Algorithm::HS256, Map::new()));
    table.add(&["d"], Value::Constant(config.domain_id.as_str().into()))?;
    tokens.add_times(&mut table)?;
    table.add(&["r"], tokens.resource())?;
    tokens.add_params(&mut table)?;
    if tokens.has_identity {
        table.add(&["ud"], Value::Identity)?;
    }
    Ok(table)
}
