//! LiveKit: tokens for joining a room.
//!
//! Sources: LiveKit's `protocol` repository (`auth/accesstoken.go`, `auth/grants.go`,
//! `auth/verifier.go`) and the output of its server libraries for Node and Python. Not tested
//! against a LiveKit server.

mod config;
mod demo;
mod params;
mod reading;
mod token;
mod vectors;

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use self::config::Config;
use super::{
    Demo, Draft, Kind, Provider, Rules, Scope, SupplyRules, TimeRule, TokenRules, Tokens,
    vectors::{Vector, VectorError},
};
use crate::{
    name::Resource,
    reading::{Jwt, Reading, View},
    settings::{MAX_DURATION, Section},
    token::{TokenFormat, hs256::Hs256},
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct LiveKit;

/// The kind's name.
pub const KIND: &str = "livekit";

fn rules() -> Rules {
    Rules {
        // The default of LiveKit's libraries.
        token_ttl: Duration::from_secs(6 * 60 * 60),
        min_token_ttl: Duration::ZERO,
        // LiveKit has no limit.
        max_token_ttl: MAX_DURATION,
        supply: SupplyRules::Key,
        tokens: TokenRules {
            parameters: params::declared(),
            nbf: TimeRule::Always(0),
            scope: Scope::OneOrAll,
            has_id: true,
            ..TokenRules::default()
        },
        parse_resource: Resource::parse,
    }
}

impl Kind for LiveKit {
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

    fn demos(&self) -> Vec<Demo> {
        vec![demo::demo()]
    }
}

impl Provider for Config {
    fn shown(&self) -> Vec<(&'static str, Value)> {
        self.keys()
    }

    fn token_format(&self, tokens: &Tokens) -> Arc<dyn TokenFormat> {
        Arc::new(Hs256::new(token::table(self, tokens), self.api_secret.secret.clone()))
    }
}
