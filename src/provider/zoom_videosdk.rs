//! Zoom Video SDK: tokens for joining a session.
//!
//! Sources: Zoom's page "Authorize" of the Video SDK and its `videosdk-auth-endpoint-sample`. Not
//! tested against a Zoom server.

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
    name::{IdentityForm, NameError, Resource},
    reading::{Jwt, Reading, View},
    settings::Section,
    token::{TokenFormat, hs256::Hs256},
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct ZoomVideoSdk;

/// The kind's name.
pub const KIND: &str = "zoom-videosdk";

/// "Authorize": the shortest life, counted from `iat`.
const MIN_TOKEN_TTL: Duration = Duration::from_secs(30 * 60);

/// "Authorize": the longest life, counted from `iat`.
const MAX_TOKEN_TTL: Duration = Duration::from_secs(48 * 60 * 60);

/// "Authorize": the longest session name in characters.
const MAX_SESSION: usize = 200;

/// "Authorize": the longest user key in characters. The sample's 35 was the limit of earlier
/// versions.
const MAX_USER: usize = 36;

/// "Authorize": the symbols allowed in a session name besides letters, digits and spaces.
const SYMBOLS: &str = r"!#$%&()+-:;<=.>?@[]^_{}|~,\";

fn rules() -> Rules {
    Rules {
        // The sample's default.
        token_ttl: Duration::from_secs(2 * 60 * 60),
        min_token_ttl: MIN_TOKEN_TTL,
        max_token_ttl: MAX_TOKEN_TTL,
        supply: SupplyRules::Key,
        tokens: TokenRules {
            parameters: params::declared(),
            // As in the guide.
            iat: TimeRule::Always(30),
            identity: IdentityRule::Optional,
            identity_form: Some(IdentityForm {
                wanted: "exceeds Zoom's limit of 36 characters",
                fits: |identity| identity.chars().count() <= MAX_USER,
            }),
            ..TokenRules::default()
        },
        parse_resource: parse_session,
    }
}

impl Kind for ZoomVideoSdk {
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
        Arc::new(Hs256::new(token::table(self, tokens), self.sdk_secret.secret.clone()))
    }
}

/// A session's name, unchanged: Zoom compares names without regard to case.
fn parse_session(text: &str) -> Result<Resource, NameError> {
    let is_taken = |it: char| it.is_ascii_alphanumeric() || it == ' ' || SYMBOLS.contains(it);
    if text.len() > MAX_SESSION || !text.chars().all(is_taken) {
        return Err(NameError::NotOfItsKind(
            "is not a session name: at most 200 ASCII letters, digits, spaces and symbols except \
             quotes, * / and `",
        ));
    }
    Resource::parse(text)
}
