//! Any JWT: header and claims come from the profile's own table.
//!
//! Source of the claims' meaning: RFC 7519. The profile must meet its verifier's requirements.

mod config;
mod vectors;

use std::{sync::Arc, time::Duration};

use jsonwebtoken::Algorithm;
use serde_json::Value;

use self::config::{Config, Key};
use super::{
    Draft, IdentityRule, Kind, Provider, Rules, Scope, SupplyRules, TokenRules, Tokens,
    claims::Claims,
    vectors::{Setup, VectorError},
};
use crate::{
    name::Resource,
    reading::{Jwt, Reading, View},
    settings::{MAX_DURATION, Section},
    token::{TokenFormat, claims::Value as Claim, hs256::Hs256, key::JwtKey, signed::Signed},
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct AnyJwt;

/// The kind's name.
pub const KIND: &str = "jwt";

impl Kind for AnyJwt {
    fn name(&self) -> &'static str {
        KIND
    }

    fn read(&self, section: &mut Section<'_>) -> Draft {
        let (claims, config) = Config::read(section);
        Draft::new(rules(claims.as_ref()), config)
    }

    /// Always `None`: nothing identifies a custom JWT.
    fn read_token(&self, _: &Jwt, _: View<'_>) -> Option<Reading> {
        None
    }

    fn samples(&self) -> Result<Vec<(&'static str, Setup)>, VectorError> {
        vectors::samples()
    }
}

/// The rules that follow from the claims; for invalid claims, rules that cause no further problems.
fn rules(claims: Option<&Claims>) -> Rules {
    let has = |wanted: fn(&Claim) -> bool| {
        claims.is_some_and(|claims| claims.entries.iter().any(|(_, it)| wanted(it)))
    };
    let names_resource = has(|it| *it == Claim::Resource);
    let names_identity = has(|it| *it == Claim::Identity);
    Rules {
        token_ttl: Duration::from_secs(60 * 60),
        min_token_ttl: Duration::ZERO,
        max_token_ttl: MAX_DURATION,
        supply: SupplyRules::Key,
        tokens: TokenRules {
            parameters: claims.map(|it| it.parameters.clone()).unwrap_or_default(),
            all_open: true,
            scope: if names_resource { Scope::One } else { Scope::None },
            identity: if names_identity { IdentityRule::Always } else { IdentityRule::Never },
            has_id: claims.is_none() || has(|it| matches!(it, Claim::Id(_))),
            ..TokenRules::default()
        },
        parse_resource: Resource::parse,
    }
}

impl Provider for Config {
    fn shown(&self) -> Vec<(&'static str, Value)> {
        self.keys()
    }

    fn token_format(&self, _: &Tokens) -> Arc<dyn TokenFormat> {
        let table = self.claims.table(self.header());
        match (&self.key, self.algorithm) {
            (Key::Secret(key), Algorithm::HS256) => Arc::new(Hs256::new(table, key.secret.clone())),
            (Key::Secret(key), longer) => {
                Arc::new(Signed::new(table, JwtKey::hmac(longer, &key.secret)))
            }
            (Key::Private(key), _) => Arc::new(Signed::new(table, key.key.clone())),
        }
    }
}
