//! LiveKit's access token, for one participant of one room.

use serde_json::Map;

use super::config::{Config, PARAMETERS};
use crate::token::claims::{Conflict, Id, Table, Time, Value};

/// The header and claims. LiveKit takes a `jti` where there is a `sub`, which it then does not
/// take for the identity.
pub(super) fn table(config: &Config) -> Result<Table, Conflict> {
    let header = [("alg", "HS256"), ("typ", "JWT")];
    let header = header.map(|(name, value)| (name.to_owned(), value.into()));
    let mut table = Table::new(Map::from_iter(header));
    table.add(&["iss"], Value::Constant(config.api_key.as_str().into()))?;
    table.add(&["nbf"], Value::Time(Time::Issue { back: config.nbf_backdate }))?;
    table.add(&["exp"], Value::Time(Time::Expire))?;
    table.add(&["video", "roomJoin"], Value::Constant(true.into()))?;
    for (number, parameter) in PARAMETERS.iter().enumerate() {
        if config.caller_params.contains(&parameter.name) {
            table.add(parameter.path, Value::Parameter(number))?;
        } else if let Some(value) = config.params.get(parameter.name) {
            table.add(parameter.path, Value::Constant(value.clone()))?;
        }
    }
    let room = if config.allow_unscoped { Value::ResourceIfAny } else { Value::Resource };
    table.add(&["video", "room"], room)?;
    table.add(&["sub"], Value::Identity)?;
    table.add(&["jti"], Value::Id(Id::Serial))?;
    Ok(table)
}
