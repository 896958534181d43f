//! Shareable credentials of an upstream, fetched in the background and returned unchanged: bearer
//! tokens, TURN credentials, installation tokens.
//!
//! A recipe describes the request for a credential and where the response holds it. Presets are
//! recipes for known providers, one file each below `presets/`. A profile may also contain its own
//! recipe.
//!
//! Sources: the providers' guides, named in each preset's file. Not tested against the providers.

mod answer;
mod assertion;
mod config;
mod custom;
mod demo;
mod emulation;
mod endpoint;
mod errors;
mod json;
mod life;
mod parts;
mod pointer;
mod presets;
mod reading;
mod recipe;
mod request;
mod secret;
mod source;
mod template;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use serde_json::Value;

use self::{config::Config, source::Credentials};
use super::{Demo, Draft, Kind, Provider, Rules, SupplyRules, TokenRules, Tokens, Upstream};
use crate::{
    clock::Clock,
    egress::{Egress, EgressError, ProxySetting},
    reading::{Jwt, Reading, View},
    sandbox::Endpoint,
    settings::{MAX_DURATION, Section},
    source::{GrantSource, base_url::BaseUrl, http::HttpClient},
    token::{TokenFormat, verbatim::Verbatim},
};

/// The kind.
#[derive(Clone, Copy, Debug)]
pub struct Forward;

/// The kind's name.
pub const KIND: &str = "forward";

impl Kind for Forward {
    fn name(&self) -> &'static str {
        KIND
    }

    fn read(&self, section: &mut Section<'_>) -> Draft {
        let (prescribed, config) = Config::read(section);
        let rules = Rules {
            // A token is the grant and has the same life.
            token_ttl: MAX_DURATION,
            min_token_ttl: Duration::ZERO,
            max_token_ttl: MAX_DURATION,
            supply: SupplyRules::Forwarded(prescribed.grants),
            tokens: TokenRules::default(),
            parse_resource: prescribed.parse_resource,
        };
        Draft::new(rules, config.map(Forwarded))
    }

    fn read_token(&self, token: &Jwt, _: View<'_>) -> Option<Reading> {
        // A provider's own tokens can have any form.
        reading::read_sandbox_token(token)
    }

    fn read_credential(&self, text: &str, view: View<'_>) -> Option<Reading> {
        reading::read(text, view)
    }

    fn demos(&self) -> Vec<Demo> {
        demo::demos()
    }
}

/// A profile of the kind.
#[derive(Clone, Debug)]
struct Forwarded(Arc<Config>);

impl Provider for Forwarded {
    fn shown(&self) -> Vec<(&'static str, Value)> {
        self.0.keys()
    }

    fn notes(&self) -> Vec<String> {
        self.0.notes()
    }

    fn token_format(&self, _: &Tokens) -> Arc<dyn TokenFormat> {
        Arc::new(Verbatim)
    }

    fn upstream(&self) -> Option<&dyn Upstream> {
        Some(self)
    }
}

impl Upstream for Forwarded {
    fn account(&self) -> String {
        self.0.account()
    }

    fn egress(&self) -> Result<Egress, EgressError> {
        Egress::trusting(self.0.recipe.base.uri(), &self.0.proxy, self.0.ca.as_ref())
    }

    fn attempt(&self) -> Duration {
        self.0.timeout
    }

    fn source(
        &self,
        clock: Clock,
        egress: &Egress,
        grant_ttl: Option<Duration>,
    ) -> Arc<dyn GrantSource> {
        let client = HttpClient::new(self.0.recipe.base.clone(), egress, clock, self.attempt());
        Arc::new(Credentials::new(Arc::clone(&self.0), client, grant_ttl))
    }

    fn replaced_by(&self, upstream: &BaseUrl) -> Arc<dyn Provider> {
        let mut config = (*self.0).clone();
        config.recipe.base = upstream.clone();
        config.proxy = ProxySetting::default();
        Arc::new(Self(Arc::new(config)))
    }

    fn endpoint(&self) -> Arc<dyn Endpoint> {
        Arc::new(endpoint::Emulated::new(Arc::clone(&self.0)))
    }
}
