//! LiveKit's access token, for one participant of one room.

use jsonwebtoken::Algorithm;
use serde_json::Map;

use super::config::Config;
use crate::{
    provider::{Tokens, header},
    token::claims::{Conflict, Id, Table, Value},
};

/// The header and claims. LiveKit accepts a `jti` next to a `sub`; it then does not use the `jti`
/// as the identity.
pub(super) fn table(config: &Config, tokens: &Tokens) -> Result<Table, Conflict> {
    let mut table = Table::new(header::of(Algorithm::HS256, Map::new()));
    table.add(&["iss"], Value::Constant(config.api_key.as_str().into()))?;
    tokens.add_times(&mut table)?;
    tokens.add_params(&mut table)?;
    table.add(&["video", "room"], tokens.resource())?;
    table.add(&["sub"], Value::Identity)?;
    table.add(&["jti"], Value::Id(Id::Serial))?;
    Ok(table)
}
