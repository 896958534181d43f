//! Mux: tokens for signed playback IDs and for viewer counts.
//!
//! Sources: Mux's pages "Secure video playback", "Signing JWTs", "Get images from a video" and
//! "Modify playback behavior", and the output of `@mux/mux-node`. Not tested against a Mux server.

mod config;
mod params;
mod reading;
mod token;
mod vectors;

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use self::config::Config;
use super::{
    Draft, IdentityRule, Kind, Provider, Rules, SupplyRules, TokenRules, Tokens,
    vectors::{Vector, VectorError},
};
use crate::{
    name::{NameError, Resource},
    reading::{Jwt, Reading, View},
    settings::{MAX_DURATION, Section},
    token::{TokenFormat, signed::Signed},
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct Mux;

/// The kind's name.
pub const KIND: &str = "mux";

fn rules() -> Rules {
    Rules {
        // Mux checks tokens during playback: this covers an evening. The library's default of seven
        // days would also apply to a token that is passed on.
        token_ttl: Duration::from_secs(6 * 60 * 60),
        min_token_ttl: Duration::ZERO,
        max_token_ttl: MAX_DURATION,
        supply: SupplyRules::Key,
        tokens: TokenRules {
            parameters: params::declared(),
            identity: IdentityRule::Never,
            ..TokenRules::default()
        },
        parse_resource: parse_id,
    }
}

impl Kind for Mux {
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
        Arc::new(Signed::new(token::table(self, tokens), self.private_key.key.clone()))
    }
}

/// A playback ID; for counts the ID of an asset, a live stream or a video.
fn parse_id(text: &str) -> Result<Resource, NameError> {
    if text.is_empty() || params::is_id(text) {
        return Resource::parse(text);
    }
    Err(NameError::NotOfItsKind(if text.contains(['/', '.', ':']) {
        "is not a playback ID: the part of https://stream.mux.com/ID.m3u8 between the last slash \
         and the dot"
    } else {
        "is neither a playback ID nor an ID for counts: at most 128 ASCII letters, digits, - and _"
    }))
}
