//! Daily: meeting tokens for joining a room.
//!
//! Sources: Daily's pages "Self-signing tokens" and "Meeting tokens". Not tested against a Daily
//! server.

mod config;
mod params;
mod reading;
mod token;
mod vectors;

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use self::config::Config;
use super::{
    Draft, IdentityRule, Kind, Provider, Rules, Scope, SupplyRules, TimeRule, TokenRules, Tokens,
    vectors::{Vector, VectorError},
};
use crate::{
    name::{IdentityForm, Resource},
    reading::{Jwt, Reading, View},
    settings::{MAX_DURATION, Section},
    token::{TokenFormat, hs256::Hs256},
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct Daily;

/// The kind's name.
pub const KIND: &str = "daily";

/// "Create meeting token": the longest user ID in characters.
const MAX_USER: usize = 36;

fn rules() -> Rules {
    Rules {
        // Daily has no default: tokens without an expiry are valid indefinitely.
        token_ttl: Duration::from_secs(60 * 60),
        min_token_ttl: Duration::ZERO,
        max_token_ttl: MAX_DURATION,
        supply: SupplyRules::Key,
        tokens: TokenRules {
            parameters: params::declared(),
            iat: TimeRule::Always(0),
            nbf: TimeRule::IfSet,
            scope: Scope::OneOrAll,
            identity: IdentityRule::Optional,
            identity_form: Some(IdentityForm {
                wanted: "exceeds Daily's limit of 36 characters",
                fits: |identity| identity.chars().count() <= MAX_USER,
            }),
            ..TokenRules::default()
        },
        parse_resource: Resource::parse,
    }
}

impl Kind for Daily {
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
        Arc::new(Hs256::new(token::table(self, tokens), self.api_key.secret.clone()))
    }
}
