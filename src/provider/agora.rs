//! Agora: tokens in the format `AccessToken2`, which users need to join a channel (RTC) or to log
//! in to Signaling (RTM) and Chat.
//!
//! Sources: Agora's library `agora-token` for Node (`AccessToken2`, `RtcTokenBuilder2`,
//! `RtmTokenBuilder2`, `ChatTokenBuilder2`) and the names in its comments. Not tested against an
//! Agora server.

mod config;
mod format;
mod names;
mod packed;
mod params;
mod parsed;
mod reading;
mod services;
mod vectors;

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use self::{
    config::{Config, User},
    format::AccessToken2,
    services::Product,
};
use super::{
    Draft, IdentityRule, Kind, Provider, Rules, Scope, SupplyRules, TimeRule, TokenRules, Tokens,
    vectors::{Setup, Vector, VectorError},
};
use crate::{
    reading::{Jwt, Reading, Signature, View},
    settings::{Section, SigningSecret},
    token::TokenFormat,
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct Agora;

/// The kind's name.
pub const KIND: &str = "agora";

/// The longest life of a token and of a privilege in it.
const MAX_TOKEN_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// The rules that follow from the services and the form of user names.
fn rules(services: &[Product], user: User) -> Rules {
    let has_channel = services.contains(&Product::Rtc);
    Rules {
        token_ttl: Duration::from_secs(60 * 60),
        min_token_ttl: Duration::ZERO,
        max_token_ttl: MAX_TOKEN_TTL,
        supply: SupplyRules::Key,
        tokens: TokenRules {
            parameters: if has_channel { params::declared() } else { Vec::new() },
            iat: TimeRule::Always(0),
            scope: if has_channel { Scope::One } else { Scope::None },
            // Only a channel allows anonymous users.
            identity: if services == [Product::Rtc] {
                IdentityRule::Optional
            } else {
                IdentityRule::Always
            },
            identity_form: Some(match user {
                User::Uid => names::UID,
                User::Account if services == [Product::Rtc] => names::ACCOUNT,
                User::Account => names::SHORT_ACCOUNT,
            }),
            ..TokenRules::default()
        },
        parse_resource: names::parse_channel,
    }
}

impl Kind for Agora {
    fn name(&self) -> &'static str {
        KIND
    }

    fn read(&self, section: &mut Section<'_>) -> Draft {
        let (services, user, config) = Config::read(section);
        Draft::new(rules(&services, user), config)
    }

    fn read_credential(&self, text: &str, view: View<'_>) -> Option<Reading> {
        reading::read(text, view.now.unix_seconds())
    }

    fn check_credential(&self, text: &str, secret: &SigningSecret) -> Option<Signature> {
        reading::check(text, secret)
    }

    /// Always `None`: Agora's tokens are not JWTs.
    fn read_token(&self, _: &Jwt, _: View<'_>) -> Option<Reading> {
        None
    }

    fn vectors(&self) -> Result<Vec<Vector>, VectorError> {
        vectors::vectors()
    }

    fn samples(&self) -> Result<Vec<(&'static str, Setup)>, VectorError> {
        vectors::samples()
    }
}

impl Provider for Config {
    fn shown(&self) -> Vec<(&'static str, Value)> {
        self.keys()
    }

    fn token_format(&self, tokens: &Tokens) -> Arc<dyn TokenFormat> {
        Arc::new(AccessToken2::new(self, tokens))
    }
}
