//! The kinds of profiles, a line each. A kind is one folder, and nothing outside it (but the
//! sandbox, which emulates its upstream) knows its provider.

pub mod twilio_live;

use std::{fmt, sync::Arc, time::Duration};

use secrecy::SecretString;

use crate::{
    clock::Clock,
    egress::{Egress, EgressError},
    name::{NameError, Resource},
    settings::Section,
    source::{FetchError, FetchRequest, Fetched, GrantSource, base_url::BaseUrl, http::HttpClient},
    token::TokenFormat,
};

/// The names of all kinds, as `kind` takes them.
pub const KINDS: [&str; 1] = [twilio_live::KIND];

/// A profile's kind with the kind's own configuration.
#[derive(Clone, Debug)]
pub enum Provider {
    /// Twilio Live: a `PlaybackGrant` in an Access Token.
    TwilioLive(twilio_live::Config),
}

/// What a kind lays down, whatever a profile says.
#[derive(Clone, Copy)]
pub struct Rules {
    /// The longest life that a token may have.
    pub max_token_ttl: Duration,
    /// The longest life that a grant may be asked for.
    pub max_grant_ttl: Duration,
    /// Takes a resource of the kind's form, and brings it into the one form that it is known by.
    pub parse_resource: fn(&str) -> Result<Resource, NameError>,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

/// What requests to an upstream carry: an account, a user of it and the user's password.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The account.
    pub account: String,
    /// Who of the account asks.
    pub user: String,
    /// Proves it: a secret.
    pub password: SecretString,
}

impl Provider {
    /// Reads the kind's own keys from a profile's section; none for a kind that is not known.
    /// What is wrong with them is told to the section.
    pub fn read(kind: &str, section: &mut Section<'_>) -> Option<Self> {
        match kind {
            twilio_live::KIND => twilio_live::Config::read(section).map(Self::TwilioLive),
            _ => None,
        }
    }

    /// What `kind` lays down; none for a kind that is not known.
    #[must_use]
    pub fn rules(kind: &str) -> Option<Rules> {
        match kind {
            twilio_live::KIND => Some(twilio_live::RULES),
            _ => None,
        }
    }

    /// The upstream and account whose budget is shared; equal for profiles that share it.
    #[must_use]
    pub fn account(&self) -> String {
        match self {
            Self::TwilioLive(config) => config.account(),
        }
    }

    /// The kind's own keys as they may be shown: never a secret, only where it is.
    #[must_use]
    pub fn shown(&self) -> Vec<(&'static str, serde_json::Value)> {
        match self {
            Self::TwilioLive(config) => config.shown(),
        }
    }

    /// The same profile against another upstream.
    #[must_use]
    pub fn against(self, upstream: &BaseUrl) -> Self {
        match self {
            Self::TwilioLive(config) => Self::TwilioLive(config.against(upstream)),
        }
    }

    /// How its upstream is reached, by the profile and the environment.
    pub fn egress(&self) -> Result<Egress, EgressError> {
        match self {
            Self::TwilioLive(config) => Egress::of(config.upstream.uri(), &config.proxy),
        }
    }

    /// The source of its grants, each asked to live for `grant_ttl`.
    pub fn source(&self, clock: Clock, grant_ttl: Duration) -> Result<Source, EgressError> {
        let egress = self.egress()?;
        match self {
            Self::TwilioLive(config) => {
                let client = HttpClient::new(config.upstream.clone(), egress, clock);
                let source = twilio_live::PlaybackGrants::new(config, client, grant_ttl);
                Ok(Source::TwilioLive(source))
            }
        }
    }

    /// The credential that its requests carry, for an upstream that is emulated to know.
    #[must_use]
    pub fn credential(&self) -> Credential {
        match self {
            Self::TwilioLive(config) => config.credential(),
        }
    }

    /// The format of its tokens.
    #[must_use]
    pub fn token_format(&self) -> Arc<dyn TokenFormat> {
        match self {
            Self::TwilioLive(config) => Arc::new(twilio_live::AccessTokens::new(config)),
        }
    }
}

/// The source of a profile's grants.
#[derive(Debug)]
pub enum Source {
    /// Twilio Live's.
    TwilioLive(twilio_live::PlaybackGrants),
}

impl Source {
    /// How the upstream is reached.
    #[must_use]
    pub const fn egress(&self) -> &Egress {
        match self {
            Self::TwilioLive(source) => source.egress(),
        }
    }

    /// How many seconds the upstream's clock is ahead of ours; none before an answer.
    #[must_use]
    pub fn clock_skew(&self) -> Option<f64> {
        match self {
            Self::TwilioLive(source) => source.clock_skew(),
        }
    }
}

impl GrantSource for Source {
    async fn fetch(&self, request: FetchRequest) -> Result<Fetched, FetchError> {
        match self {
            Self::TwilioLive(source) => source.fetch(request).await,
        }
    }
}
