//! The token, for one client of one session.

use jsonwebtoken::Algorithm;
use serde_json::{Map, json};

use super::config::Config;
use crate::{
    provider::{Tokens, header},
    token::claims::{Conflict, Id, Table, Value},
};

/// The `scope` of a session token.
pub(super) const SCOPE: &str = "session.connect";

/// The header and claims as `@vonage/video` writes them. Vonage's libraries for other languages
/// differ from it and from each other.
pub(super) fn table(config: &Config, tokens: &Tokens) -> Result<Table, Conflict> {
    let mut table = Table::new(header::of(Algorithm::RS256, Map::new()));
    let constants = [
        ("application_id", config.application_id.as_str().into()),
        ("scope", SCOPE.into()),
        ("sub", "video".into()),
        ("acl", json!({"paths": {"/session/**": {}}})),
    ];
    for (claim, value) in constants {
        table.add(&[claim], Value::Constant(value))?;
    }
    tokens.add_times(&mut table)?;
    table.add(&["session_id"], tokens.resource())?;
    tokens.add_params(&mut table)?;
    if tokens.has_identity {
        table.add(&["connection_data"], Value::Identity)?;
    }
    table.add(&["jti"], Value::Id(Id::Uuid))?;
    Ok(table)
}
