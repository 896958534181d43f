//! Twilio Live: the `PlaybackGrant` of a `PlayerStreamer`, shared by all its players, inside each
//! player's own Twilio Access Token.
//!
//! Sources: Twilio's API description `twilio_media_v1.json` and the page "Access Tokens". The
//! service itself ended on 2023-11-30; the formats are those of its helper libraries.

mod config;
mod demo;
mod endpoint;
mod source;
mod token;
mod vectors;
pub mod wire;

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use self::endpoint::PlaybackGrantEndpoint;
pub use self::{
    config::{Config, KIND},
    demo::{DEMO_ACCOUNT_SID, DEMO_API_KEY_SECRET, DEMO_API_KEY_SID, DEMO_RESOURCE},
    source::PlaybackGrants,
    token::access_tokens,
};
pub use super::twilio::{grants::ProductGrants, ids, playback::PlaybackTimes};
use super::{
    Demo, Draft, GrantRules, Kind, LifeRules, Provider, Rules, SupplyRules, TimeRule, TokenRules,
    Tokens, Upstream,
    twilio::{MAX_TOKEN_TTL, reading},
    vectors::{Vector, VectorError},
};
use crate::{
    clock::Clock,
    egress::{Egress, EgressError, ProxySetting},
    name::{NameError, Resource},
    reading::{Jwt, Reading, View},
    sandbox::Endpoint,
    settings::Section,
    source::{GrantSource, base_url::BaseUrl, http::HttpClient},
    token::TokenFormat,
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct TwilioLive;

/// The longest life of a grant: Ttl's maximum in `twilio_media_v1.json`.
const MAX_GRANT_TTL: Duration = Duration::from_secs(60);

fn rules() -> Rules {
    Rules {
        token_ttl: Duration::from_secs(60 * 60),
        min_token_ttl: Duration::ZERO,
        max_token_ttl: MAX_TOKEN_TTL,
        supply: SupplyRules::Grants(GrantRules {
            life: LifeRules::Requested { default: MAX_GRANT_TTL, max: MAX_GRANT_TTL },
            refresh_at: 50.0 / 60.0,
        }),
        tokens: TokenRules { nbf: TimeRule::IfSet, has_id: true, ..TokenRules::default() },
        parse_resource,
    }
}

impl Kind for TwilioLive {
    fn name(&self) -> &'static str {
        KIND
    }

    fn read(&self, section: &mut Section<'_>) -> Draft {
        Draft::new(rules(), Config::read(section))
    }

    fn read_token(&self, token: &Jwt, view: View<'_>) -> Option<Reading> {
        reading::read(token, view).filter(|_| reading::has_player(token))
    }

    fn vectors(&self) -> Result<Vec<Vector>, VectorError> {
        vectors::vectors()
    }

    fn demos(&self) -> Vec<Demo> {
        vec![demo::demo()]
    }
}

impl Provider for Config {
    fn shown(&self) -> Vec<(&'static str, Value)> {
        self.keys()
    }

    fn token_format(&self, tokens: &Tokens) -> Arc<dyn TokenFormat> {
        Arc::new(access_tokens(self, tokens.nbf))
    }

    fn upstream(&self) -> Option<&dyn Upstream> {
        Some(self)
    }
}

impl Upstream for Config {
    fn account(&self) -> String {
        format!("{} {}", self.upstream, self.account_sid)
    }

    fn egress(&self) -> Result<Egress, EgressError> {
        Egress::of(self.upstream.uri(), &self.proxy)
    }

    fn source(
        &self,
        clock: Clock,
        egress: &Egress,
        grant_ttl: Option<Duration>,
    ) -> Arc<dyn GrantSource> {
        let client = HttpClient::new(self.upstream.clone(), egress, clock, self.attempt());
        Arc::new(PlaybackGrants::new(self, client, grant_ttl.unwrap_or(MAX_GRANT_TTL)))
    }

    fn replaced_by(&self, upstream: &BaseUrl) -> Arc<dyn Provider> {
        let (upstream, proxy) = (upstream.clone(), ProxySetting::default());
        Arc::new(Self { upstream, proxy, ..self.clone() })
    }

    fn endpoint(&self) -> Arc<dyn Endpoint> {
        Arc::new(PlaybackGrantEndpoint::new(self))
    }
}

fn parse_resource(text: &str) -> Result<Resource, NameError> {
    let text = Resource::parse(text)?;
    let sid = ids::PlayerStreamerSid::parse(text.as_str())
        .map_err(|_| NameError::NotOfItsKind("is not VJ followed by 32 hexadecimal digits"))?;
    Resource::parse(sid.as_str())
}
