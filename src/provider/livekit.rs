//! LiveKit: tokens with which participants join a room.
//!
//! Sources: LiveKit's `protocol` repository (`auth/accesstoken.go`, `auth/grants.go`,
//! `auth/verifier.go`) and what its server libraries for Node and Python emit. No LiveKit server
//! was asked.

mod config;
mod params;
mod reading;
mod token;

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use self::config::Config;
use super::{
    Demo, DemoSecret, Draft, Kind, Provider, Rules, Scope, Served, SupplyRules, TimeRule,
    TokenRules, Tokens,
};
use crate::{
    name::Resource,
    reading::{Jwt, Reading, View},
    settings::{LONGEST, Section},
    token::{TokenFormat, hs256::Hs256},
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct LiveKit;

/// The kind's name.
pub const KIND: &str = "livekit";

/// The demo's API key.
const DEMO_API_KEY: &str = "APIsandbox";

/// Its secret: public, and known to no server.
const DEMO_API_SECRET: &str = "public-demo-secret-of-the-sandbox-only";

fn rules() -> Rules {
    Rules {
        // What LiveKit's libraries give by default.
        token_ttl: Duration::from_secs(6 * 60 * 60),
        min_token_ttl: Duration::ZERO,
        // LiveKit has no limit of its own.
        max_token_ttl: LONGEST,
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

    fn demos(&self) -> Vec<Demo> {
        vec![Demo {
            kind: KIND,
            name: KIND,
            profile: "room",
            served: Served::Yes,
            keys: vec![
                ("api_key", json!(DEMO_API_KEY)),
                ("allow_resources", json!(["*"])),
                ("caller_params", json!(["name", "metadata", "attributes", "can_publish"])),
            ],
            secret: Some(DemoSecret {
                keys: config::SECRET,
                variable: "GRANTMINT_SANDBOX_ROOM_SECRET",
                value: DEMO_API_SECRET.to_owned(),
            }),
            resources: Vec::new(),
            endpoint: None,
        }]
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
