//! The Video SDK's token, for one user of one session.

use jsonwebtoken::Algorithm;
use serde_json::Map;

use super::config::Config;
use crate::{
    provider::{Tokens, header},
    token::claims::{Conflict, Table, Value},
};

/// The header and claims: "Authorize".
pub(super) fn table(config: &Config, tokens: &Tokens) -> Result<Table, Conflict> {
    let mut table = Table::new(header::of(Algorithm::HS256, Map::new()));
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
