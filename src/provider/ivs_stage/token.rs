//! Stage tokens: for a participant of one stage, and for a connection to any.

use serde_json::Map;

use super::config::{Config, Own};
use crate::{
    provider::{Tokens, header, ivs::ALGORITHM},
    token::claims::{Conflict, Id, Table, Value},
};

/// The `version` of both types, a string.
pub(super) const VERSION: &str = "1.0";

/// The header and claims: "Distribute Tokens". A participant's `jti` is its ID on the stage.
pub(super) fn table(config: &Config, tokens: &Tokens) -> Result<Table, Conflict> {
    let kid = Map::from_iter([("kid".to_owned(), config.public_key_arn.as_str().into())]);
    let mut table = Table::new(header::of(ALGORITHM, kid));
    let mut constant = |name: &str, value: &str| table.add(&[name], Value::Constant(value.into()));
    constant("version", VERSION)?;
    constant("events_url", &config.events_url)?;
    match &config.own {
        Own::Participant { whip_url } => constant("whip_url", whip_url)?,
        Own::Connection { account_id, region } => {
            constant("account_id", account_id)?;
            constant("region", region)?;
        }
    }
    tokens.add_times(&mut table)?;
    if matches!(config.own, Own::Participant { .. }) {
        table.add(&["resource"], tokens.resource())?;
        table.add(&["topic"], Value::ResourceEnd)?;
        tokens.add_params(&mut table)?;
        if tokens.has_identity {
            table.add(&["user_id"], Value::Identity)?;
        }
    }
    table.add(&["jti"], Value::Id(Id::Serial))?;
    Ok(table)
}
