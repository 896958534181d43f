//! The kinds of profiles. Each kind is one module, and nothing outside it depends on its provider.

pub mod agora;
mod claims;
pub mod cloudflare_stream;
pub mod daily;
mod demo;
pub mod examples;
pub mod forward;
mod header;
pub mod hundred_ms;
mod ivs;
pub mod ivs_playback;
pub mod ivs_stage;
pub mod jwt;
pub mod livekit;
pub mod mux;
mod private_key;
mod secret;
mod tokens;
mod twilio;
pub mod twilio_access;
pub mod twilio_live;
pub mod vectors;
pub mod vonage_video;
pub mod zoom_videosdk;

use std::{fmt, sync::Arc, time::Duration};

use serde_json::Value;

use self::vectors::{Setup, Vector, VectorError};
pub use self::{
    demo::{Demo, DemoSecret, Served, configuration},
    tokens::{IdentityRule, Scope, TimeRule, TokenRules, Tokens},
};
pub use crate::token::{
    TokenFormat,
    params::{Parameter, Setter},
};
use crate::{
    clock::Clock,
    egress::{Egress, EgressError},
    name::{NameError, Resource},
    reading::{Jwt, Reading, Signature, View},
    sandbox::{self, Endpoint},
    settings::{Section, SigningSecret},
    source::{GrantSource, base_url::BaseUrl, http::DEFAULT_TIMEOUT},
};

/// All kinds. By default, a sandbox emulates the first one with an upstream.
pub static KINDS: &[&dyn Kind] = &[
    &agora::Agora,
    &cloudflare_stream::CloudflareStream,
    &daily::Daily,
    &hundred_ms::HundredMs,
    &ivs_playback::IvsPlayback,
    &ivs_stage::IvsStage,
    &jwt::AnyJwt,
    &livekit::LiveKit,
    &mux::Mux,
    &twilio_access::TwilioAccess,
    &twilio_live::TwilioLive,
    &vonage_video::VonageVideo,
    &zoom_videosdk::ZoomVideoSdk,
    &forward::Forward,
];

/// The demos of all kinds.
#[must_use]
pub fn demos() -> Vec<Demo> {
    KINDS.iter().flat_map(|kind| kind.demos()).collect()
}

/// The demo that a sandbox emulates by default: the first with an upstream.
#[must_use]
pub fn demo() -> Option<Demo> {
    demos().into_iter().find(Demo::has_upstream)
}

/// The fault bodies specific to the emulated upstreams of all kinds.
#[must_use]
pub fn bodies() -> Vec<&'static str> {
    sandbox::bodies(&demos().iter().filter_map(Demo::endpoint).collect::<Vec<_>>())
}

/// A kind of profile: one product of a provider.
pub trait Kind: fmt::Debug + Send + Sync {
    /// The name, as used in `kind`.
    fn name(&self) -> &'static str;

    /// Reads the kind's own keys from a profile's section, and reports problems to the section.
    fn read(&self, section: &mut Section<'_>) -> Draft;

    /// Describes a credential that is not a JWT; `None` if this kind does not know its form. Starts
    /// from [`Reading::opaque`].
    fn read_credential(&self, _: &str, _: View<'_>) -> Option<Reading> {
        None
    }

    /// Whether a secret signed a credential that is not a JWT; `None` if this kind does not know
    /// its form, or if it has no signature.
    fn check_credential(&self, _: &str, _: &SigningSecret) -> Option<Signature> {
        None
    }

    /// Describes a token of this kind; `None` for any other token. Starts from [`Reading::of`];
    /// [`read_token`] adds what applies to every JWT.
    fn read_token(&self, token: &Jwt, view: View<'_>) -> Option<Reading>;

    /// The tokens that the vendor's own libraries make with public test keys, and the profiles and
    /// calls that must produce the same tokens.
    ///
    /// # Errors
    ///
    /// The built-in data is damaged.
    fn vectors(&self) -> Result<Vec<Vector>, VectorError> {
        Ok(Vec::new())
    }

    /// Profiles for measuring how fast tokens are signed, by algorithm.
    ///
    /// # Errors
    ///
    /// The built-in data is damaged.
    fn samples(&self) -> Result<Vec<(&'static str, Setup)>, VectorError> {
        Ok(Vec::new())
    }

    /// Profiles with public keys, and the emulated upstreams that accept them. Every kind with an
    /// upstream should have one.
    fn demos(&self) -> Vec<Demo> {
        Vec::new()
    }
}

/// Describes a token according to its kind.
#[must_use]
pub fn read_token(token: &Jwt, view: View<'_>) -> Reading {
    let reading = KINDS.iter().find_map(|kind| kind.read_token(token, view));
    reading.unwrap_or_else(|| Reading::of_no_kind(token)).complete(token, view.now)
}

/// Describes a credential that is not a JWT; `None` if no kind knows its form.
#[must_use]
pub fn read_credential(text: &str, view: View<'_>) -> Option<Reading> {
    KINDS.iter().find_map(|kind| kind.read_credential(text, view))
}

/// Whether a secret signed a credential that is not a JWT; `None` if no kind can tell.
#[must_use]
pub fn check_credential(text: &str, secret: &SigningSecret) -> Option<Signature> {
    KINDS.iter().find_map(|kind| kind.check_credential(text, secret))
}

/// The result of reading a kind's own keys.
#[derive(Debug)]
pub struct Draft {
    /// The kind's rules. They are known even if its keys are invalid, so that the other keys can be
    /// checked too.
    pub rules: Rules,
    /// The provider; `None` if one of its keys is invalid.
    pub provider: Option<Arc<dyn Provider>>,
}

impl Draft {
    /// Combines the rules and the provider.
    pub fn new(rules: Rules, provider: Option<impl Provider + 'static>) -> Self {
        Self { rules, provider: provider.map(|provider| Arc::new(provider) as _) }
    }
}

/// What a kind prescribes, independent of a profile.
#[derive(Clone)]
pub struct Rules {
    /// The default token life.
    pub token_ttl: Duration,
    /// The shortest token life.
    pub min_token_ttl: Duration,
    /// The longest token life.
    pub max_token_ttl: Duration,
    /// What tokens are made from.
    pub supply: SupplyRules,
    /// The rules for the tokens' claims.
    pub tokens: TokenRules,
    /// Validates a resource and returns its canonical form.
    pub parse_resource: fn(&str) -> Result<Resource, NameError>,
}

/// What a kind's tokens are made from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SupplyRules {
    /// A grant per resource, from the provider's upstream.
    Grants(GrantRules),
    /// The same, where the grant is the token: all callers of a resource share it.
    Forwarded(GrantRules),
    /// Only a key.
    Key,
}

/// A kind's rules for its grants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GrantRules {
    /// How long grants live.
    pub life: LifeRules,
    /// The default refresh point, as a share of a grant's life.
    pub refresh_at: f64,
}

/// What determines the life of a kind's grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeRules {
    /// Each request specifies a life, so `grant_ttl` is a valid key.
    Requested {
        /// The default life.
        default: Duration,
        /// The longest life that can be requested.
        max: Duration,
    },
    /// The upstream's response states it. Requests specify no life, and `grant_ttl` is not a valid
    /// key.
    Reported,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

/// A kind with a profile's values for its own keys. Its `Debug` must not show secrets.
pub trait Provider: fmt::Debug + Send + Sync {
    /// The kind's own keys for display. Secrets are replaced by their location.
    fn shown(&self) -> Vec<(&'static str, Value)>;

    /// Notes for the operator, a sentence each.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// The format of its tokens, which contain the profile's claims.
    fn token_format(&self, tokens: &Tokens) -> Arc<dyn TokenFormat>;

    /// The source of its grants; `None` if tokens need only a key.
    fn upstream(&self) -> Option<&dyn Upstream> {
        None
    }
}

/// The source of a provider's grants.
pub trait Upstream: fmt::Debug + Send + Sync {
    /// The upstream and account that share a request budget; equal for profiles that share it.
    fn account(&self) -> String;

    /// How it is reached, according to the profile and the environment.
    ///
    /// # Errors
    ///
    /// The profile's or the environment's proxy or roots cannot be used.
    fn egress(&self) -> Result<Egress, EgressError>;

    /// The time limit of an attempt to fetch a grant. The schedule and its guarantees depend on it.
    fn attempt(&self) -> Duration {
        DEFAULT_TIMEOUT
    }

    /// The source of grants, reached by `egress`. `grant_ttl` is the life to request; `None` if the
    /// kind's requests specify none ([`LifeRules::Reported`]).
    fn source(
        &self,
        clock: Clock,
        egress: &Egress,
        grant_ttl: Option<Duration>,
    ) -> Arc<dyn GrantSource>;

    /// The same provider with another upstream.
    fn replaced_by(&self, upstream: &BaseUrl) -> Arc<dyn Provider>;

    /// An emulated endpoint that accepts the profile's credential.
    fn endpoint(&self) -> Arc<dyn Endpoint>;
}
