//! Twilio's Access Tokens for Video, Voice, Conversations, Sync and `TaskRouter`.
//!
//! Source: Twilio's page "Access Tokens"; claims as `twilio-node` emits them. Not tested against a
//! Twilio service.

mod config;
mod token;
mod vectors;

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use self::config::Config;
use super::{
    Draft, Kind, Provider, Rules, Scope, SupplyRules, TimeRule, TokenRules, Tokens,
    twilio::{MAX_TOKEN_TTL, grants::ProductGrants, reading},
    vectors::{Vector, VectorError},
};
use crate::{
    name::Resource,
    reading::{Jwt, Reading, View},
    settings::Section,
    token::{TokenFormat, hs256::Hs256},
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct TwilioAccess;

/// The kind's name.
pub const KIND: &str = "twilio-access";

fn rules(grants: &ProductGrants) -> Rules {
    let scope = if token::room_is_of_call(grants) { Scope::OneOrAll } else { Scope::None };
    Rules {
        token_ttl: Duration::from_secs(60 * 60),
        min_token_ttl: Duration::ZERO,
        max_token_ttl: MAX_TOKEN_TTL,
        supply: SupplyRules::Key,
        tokens: TokenRules {
            parameters: token::declared(grants),
            nbf: TimeRule::IfSet,
            scope,
            identity_form: token::identity_form(grants),
            has_id: true,
            ..TokenRules::default()
        },
        parse_resource: Resource::parse,
    }
}

impl Kind for TwilioAccess {
    fn name(&self) -> &'static str {
        KIND
    }

    fn read(&self, section: &mut Section<'_>) -> Draft {
        let grants = config::read_grants(section);
        let known = grants.clone().unwrap_or_default();
        Draft::new(rules(&known), Config::read(section, grants))
    }

    fn read_token(&self, token: &Jwt, view: View<'_>) -> Option<Reading> {
        reading::read(token, view).filter(|_| !reading::has_player(token))
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
        Arc::new(Hs256::new(token::table(self, tokens), self.api_key_secret.secret.clone()))
    }
}
