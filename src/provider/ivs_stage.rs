//! Amazon IVS, real-time: tokens for joining a stage, and tokens for a connection that an
//! application shares between stages.
//!
//! Source: the page "Distribute Tokens" of the IVS real-time user guide, and how the web broadcast
//! client reads tokens. Not tested against an IVS server.

mod config;
mod params;
mod reading;
mod token;
mod vectors;

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use self::config::{Config, TokenType};
use super::{
    Draft, IdentityRule, Kind, Provider, Rules, Scope, SupplyRules, TimeRule, TokenRules, Tokens,
    ivs::Arn,
    vectors::{Vector, VectorError},
};
use crate::{
    name::{IdentityForm, NameError, Resource},
    reading::{Jwt, Reading, View},
    settings::Section,
    token::{TokenFormat, signed::Signed},
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct IvsStage;

/// The kind's name.
pub const KIND: &str = "ivs-stage";

const DAY: u64 = 24 * 60 * 60;

/// The longest life of a participant token, counted from `iat`.
const MAX_PARTICIPANT_TTL: Duration = Duration::from_secs(14 * DAY);

/// The longest life of a connection token.
const MAX_CONNECTION_TTL: Duration = Duration::from_secs(28 * DAY);

/// The longest user ID in characters.
const MAX_USER: usize = 128;

/// The rules for this type; for an unknown type, rules that cause no further problems.
fn rules(token_type: Option<TokenType>) -> Rules {
    let is_connection = token_type == Some(TokenType::Connection);
    let tokens = if is_connection {
        TokenRules {
            iat: TimeRule::Always(0),
            scope: Scope::None,
            identity: IdentityRule::Never,
            has_id: true,
            ..TokenRules::default()
        }
    } else {
        TokenRules {
            parameters: params::declared(),
            iat: TimeRule::Always(0),
            scope: if token_type.is_some() { Scope::One } else { Scope::None },
            identity: IdentityRule::Optional,
            identity_form: Some(IdentityForm {
                wanted: "exceeds IVS's limit of 128 characters",
                fits: |identity| identity.chars().count() <= MAX_USER,
            }),
            has_id: true,
            ..TokenRules::default()
        }
    };
    Rules {
        // The default of the API's own tokens.
        token_ttl: Duration::from_secs(DAY / 2),
        min_token_ttl: Duration::ZERO,
        max_token_ttl: if is_connection { MAX_CONNECTION_TTL } else { MAX_PARTICIPANT_TTL },
        supply: SupplyRules::Key,
        tokens,
        parse_resource: parse_stage,
    }
}

impl Kind for IvsStage {
    fn name(&self) -> &'static str {
        KIND
    }

    fn read(&self, section: &mut Section<'_>) -> Draft {
        let (token_type, config) = Config::read(section);
        Draft::new(rules(token_type), config)
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

fn parse_stage(text: &str) -> Result<Resource, NameError> {
    match Arn::parse(text).map(|arn| arn.resource_type) {
        Some("stage") => Resource::parse(text),
        Some("channel") => Err(NameError::NotOfItsKind(
            "is a channel's ARN, for the kind ivs-playback; a stage's has :stage/",
        )),
        _ => Err(NameError::NotOfItsKind(
            "is not a stage's ARN, like arn:aws:ivs:us-west-2:123456789012:stage/AbCdEf",
        )),
    }
}
