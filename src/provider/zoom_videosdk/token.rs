//! The Video SDK's token, for one user of one session.

use serde_json::Map;

use super::config::Config;
use crate::{
    provider::Tokens,
    token::claims::{Conflict, Table, Value},
};

/// The header and claims: "Authorize".
pub(super) fn table(config: &Config, tokens: &Tokens) -> Result<Table, Conflict> {
    let header = [("alg", "HS256"), ("typ", "JWT")];
    let header = header.map(|(name, value)| (name.to_owned(), value.into()));
    let mut table = Table::new(Map::from_iter(header));
    table.add(&["app_key"], Value::Constant(config.sdk_key.as_str().into()))?;
    table.add(&["version"], Value::Constant(1.into()))?;
    tokens.add_times(&mut table)?;
    table.add(&["tpc"], tokens.resource())?;
    tokens.add_params(&mut table)?;
    if tokens.has_identity {
        table.add(&[config.identity_claim], Value::Identity)?;
    }
    Ok(table)
}
