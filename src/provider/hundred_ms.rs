//! 100ms: app tokens for joining a room.
//!
//! Source: 100ms' `@100mslive/server-sdk` and its output, and how the web client reads tokens. Not
//! tested against a 100ms server.

mod config;
mod reading;
mod token;
mod vectors;

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use self::config::Config;
use super::{
    Draft, IdentityRule, Kind, Provider, Rules, SupplyRules, TimeRule, TokenRules, Tokens,
    vectors::{Vector, VectorError},
};
use crate::{
    name::Resource,
    reading::{Jwt, Reading, View},
    settings::{MAX_DURATION, Section},
    token::{
        TokenFormat,
        hs256::Hs256,
        params::{Parameter, Shape},
    },
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct HundredMs;

/// The kind's name.
pub const KIND: &str = "100ms";

/// How far the library backdates `iat` and `nbf`.
const BACK: u32 = 10;

const ROLE: Shape = Shape::Own {
    wanted: "must be a role name, a string of 1 to 256 bytes",
    fits: |value| value.as_str().is_some_and(|role| (1..=256).contains(&role.len())),
};

fn rules() -> Rules {
    Rules {
        // The library's default.
        token_ttl: Duration::from_secs(24 * 60 * 60),
        min_token_ttl: Duration::ZERO,
        max_token_ttl: MAX_DURATION,
        supply: SupplyRules::Key,
        tokens: TokenRules {
            parameters: vec![Parameter::required("role", "role", ROLE)],
            iat: TimeRule::Always(BACK),
            nbf: TimeRule::Always(BACK),
            identity: IdentityRule::Optional,
            has_id: true,
            ..TokenRules::default()
        },
        parse_resource: Resource::parse,
    }
}

impl Kind for HundredMs {
    fn name(&self) -> &'static str {
        KIND
    }

    fn read(&self, section: &mut Section<'_>) -> Draft {
        Draft::new(rules(), Config::read(section))
    }

    fn read_token(&self, token: &Jwt, _: View<'_>) -> Option<Reading> {
        reading::read(token)
    }

    fn vectors(&self) -> Result<Vec<Vector>, VectorError> {
        vectors::vectors()
    }
}

impl Provider for Config {
    fn shown(&self) -> Vec<(&'static str, Value)> {
        self.keys()
    }

    fn token_format(&self, tokens: &Tokens) -> Arc<dyn TokenFormat> {
        Arc::new(Hs256::new(token::table(self, tokens), self.app_secret.secret.clone()))
    }
}
