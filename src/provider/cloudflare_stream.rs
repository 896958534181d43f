//! Cloudflare Stream: tokens for watching a private video.
//!
//! Sources: Cloudflare's page "Secure your Stream" with its signing sample, and the API's schema of
//! signed tokens. Not tested against a Cloudflare server.

mod config;
mod params;
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
    name::{NameError, Resource},
    reading::{Jwt, Reading, View},
    settings::Section,
    token::{TokenFormat, signed::Signed},
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct CloudflareStream;

/// The kind's name.
pub const KIND: &str = "cloudflare-stream";

/// "Secure your Stream": the longest life.
const MAX_TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// The length of a video's UID.
const UID_CHARS: usize = 32;

fn rules() -> Rules {
    Rules {
        // The default of Cloudflare's own endpoint.
        token_ttl: Duration::from_secs(60 * 60),
        min_token_ttl: Duration::ZERO,
        max_token_ttl: MAX_TOKEN_TTL,
        supply: SupplyRules::Key,
        tokens: TokenRules {
            parameters: params::declared(),
            nbf: TimeRule::IfSet,
            identity: IdentityRule::Never,
            ..TokenRules::default()
        },
        parse_resource: parse_video,
    }
}

impl Kind for CloudflareStream {
    fn name(&self) -> &'static str {
        KIND
    }

    fn read(&self, section: &mut Section<'_>) -> Draft {
        Draft::new(rules(), Config::read(section))
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

/// Parses the UID of a video or a live input.
fn parse_video(text: &str) -> Result<Resource, NameError> {
    if !is_uid(text) {
        return Err(NameError::NotOfItsKind(
            "is not a video UID: 32 hexadecimal digits in lower case",
        ));
    }
    Resource::parse(text)
}

fn is_uid(text: &str) -> bool {
    text.len() == UID_CHARS && text.bytes().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
}
