//! The token, for one video.

use jsonwebtoken::Algorithm;
use serde_json::Map;

use super::config::Config;
use crate::{
    provider::{Tokens, header},
    token::claims::{Conflict, Table, Value},
};

/// The header and claims as in Cloudflare's sample: the key ID in both, and no `typ`.
pub(super) fn table(config: &Config, tokens: &Tokens) -> Result<Table, Conflict> {
    let mut table = Table::new(Map::from_iter([
        ("alg".to_owned(), header::name(Algorithm::RS256).into()),
        ("kid".to_owned(), config.key_id.as_str().into()),
    ]));
    table.add(&["kid"], Value::Constant(config.key_id.as_str().into()))?;
    tokens.add_times(&mut table)?;
    table.add(&["sub"], tokens.resource())?;
    tokens.add_params(&mut table)?;
    Ok(table)
}
