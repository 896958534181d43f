//! The app token, for one peer of one room.

use jsonwebtoken::Algorithm;
use serde_json::Map;

use super::config::Config;
use crate::{
    provider::{Tokens, header},
    token::claims::{Conflict, Id, Table, Value},
};

/// An app token's `type`; the other type, `management`, is for the server's API.
pub(super) const TYPE: &str = "app";

/// An app token's `version`.
pub(super) const VERSION: u64 = 2;

/// The header and claims as the library writes them.
pub(super) fn table(config: &Config, tokens: &Tokens) -> Result<Table, Conflict> {
    let mut table = Table::new(header::of(Algorithm::HS256, Map::new()));
    table.add(&["access_key"], Value::Constant(config.access_key.as_str().into()))?;
    table.add(&["type"], Value::Constant(TYPE.into()))?;
    table.add(&["version"], Value::Constant(VERSION.into()))?;
    tokens.add_times(&mut table)?;
    table.add(&["room_id"], tokens.resource())?;
    tokens.add_params(&mut table)?;
    if tokens.has_identity {
        table.add(&["user_id"], Value::Identity)?;
    }
    table.add(&["jti"], Value::Id(Id::Uuid))?;
    Ok(table)
}
