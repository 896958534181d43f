//! Vonage Video: tokens for connecting to a session.
//!
//! Sources: Vonage's libraries `@vonage/video` and `@vonage/jwt`, and their output. Not tested
//! against a Vonage server.

mod config;
mod params;
mod reading;
mod session;
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
    reading::{Jwt, Reading, View},
    settings::Section,
    token::{TokenFormat, signed::Signed},
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct VonageVideo;

/// The kind's name.
pub const KIND: &str = "vonage-video";

/// The longest life.
const MAX_TOKEN_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The longest `connection_data` in characters. An identity is shorter.
const MAX_CONNECTION_DATA: usize = 1_000;

fn rules() -> Rules {
    Rules {
        // Long enough to connect, which is when Vonage checks a token.
        token_ttl: Duration::from_secs(60 * 60),
        min_token_ttl: Duration::ZERO,
        max_token_ttl: MAX_TOKEN_TTL,
        supply: SupplyRules::Key,
        tokens: TokenRules {
            parameters: params::declared(),
            iat: TimeRule::Always(0),
            identity: IdentityRule::Optional,
            has_id: true,
            ..TokenRules::default()
        },
        parse_resource: session::parse,
    }
}

impl Kind for VonageVideo {
    fn name(&self) -> &'static str {
        KIND
    }

    fn read(&self, section: &mut Section<'_>) -> Draft {
        Draft::new(rules(), Config::read(section))
    }

    fn read_credential(&self, text: &str, _: View<'_>) -> Option<Reading> {
        reading::read_legacy(text)
    }

    fn read_token(&self, token: &Jwt, view: View<'_>) -> Option<Reading> {
        reading::read(token, view)
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
        Arc::new(Signed::new(token::table(self, tokens), self.private_key.key.clone()))
    }
}
