//! Amazon IVS, low latency: tokens for playing a private channel.
//!
//! Source: the page "Generate and Sign IVS Playback Tokens" of the IVS user guide. Not tested
//! against an IVS server.

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
    ivs::Arn,
    vectors::{Vector, VectorError},
};
use crate::{
    name::{IdentityForm, NameError, Resource},
    reading::{Jwt, Reading, View},
    settings::{MAX_DURATION, Section},
    token::{TokenFormat, signed::Signed},
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct IvsPlayback;

/// The kind's name.
pub const KIND: &str = "ivs-playback";

/// The guide: the longest life of a token with a viewer ID, or for single use.
const MAX_OWN_TTL: Duration = Duration::from_secs(10 * 60);

/// The guide: the longest viewer ID in characters.
const MAX_VIEWER: usize = 40;

/// The settings of a profile that its rules depend on.
#[derive(Clone, Copy)]
struct Settings {
    /// Tokens name no viewer.
    is_anonymous: bool,
    /// Each token is valid once.
    single_use: bool,
    /// The origins are checked for every request.
    strict_origin: bool,
}

fn rules(settings: Settings) -> Rules {
    let is_own = settings.single_use || !settings.is_anonymous;
    Rules {
        // IVS checks a token when playback starts, and has no default.
        token_ttl: Duration::from_secs(5 * 60),
        min_token_ttl: Duration::ZERO,
        max_token_ttl: if is_own { MAX_OWN_TTL } else { MAX_DURATION },
        supply: SupplyRules::Key,
        tokens: TokenRules {
            parameters: params::declared(settings.strict_origin),
            iat: TimeRule::Always(0),
            identity: IdentityRule::Optional,
            identity_form: Some(IdentityForm {
                wanted: "exceeds IVS's limit of 40 characters",
                fits: |identity| identity.chars().count() <= MAX_VIEWER,
            }),
            has_id: settings.single_use,
            ..TokenRules::default()
        },
        parse_resource: parse_channel,
    }
}

impl Kind for IvsPlayback {
    fn name(&self) -> &'static str {
        KIND
    }

    fn read(&self, section: &mut Section<'_>) -> Draft {
        let settings = Settings {
            is_anonymous: section.mentions("identity"),
            single_use: section.affirms("params", params::SINGLE_USE),
            strict_origin: section.affirms("params", params::STRICT_ORIGIN),
        };
        Draft::new(rules(settings), Config::read(section))
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
        vec![self.private_key.shown()]
    }

    fn token_format(&self, tokens: &Tokens) -> Arc<dyn TokenFormat> {
        Arc::new(Signed::new(token::table(tokens), self.private_key.key.clone()))
    }
}

fn parse_channel(text: &str) -> Result<Resource, NameError> {
    match Arn::parse(text).map(|arn| arn.resource_type) {
        Some("channel") => Resource::parse(text),
        Some("stage") => Err(NameError::NotOfItsKind(
            "is a stage's ARN, for the kind ivs-stage; a channel's has :channel/",
        )),
        _ => Err(NameError::NotOfItsKind(
            "is not a channel's ARN, like arn:aws:ivs:us-west-2:123456789012:channel/AbCdEf",
        )),
    }
}
