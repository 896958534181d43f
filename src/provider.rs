//! The kinds of profiles, a line each. A kind is one folder, and nothing outside it knows its
//! provider.

pub mod agora;
mod claims;
pub mod cloudflare_stream;
pub mod daily;
mod demo;
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

use self::vectors::{Vector, VectorError, Way};
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

/// All kinds. What a sandbox emulates where nobody says is of the first with an upstream.
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

/// The demo that a sandbox emulates where nobody says which: the first with an upstream.
#[must_use]
pub fn demo() -> Option<Demo> {
    demos().into_iter().find(Demo::has_upstream)
}

/// The bodies of faults that the emulated upstreams of all kinds have of their own.
#[must_use]
pub fn bodies() -> Vec<&'static str> {
    sandbox::bodies(&demos().iter().filter_map(Demo::endpoint).collect::<Vec<_>>())
}

/// A sort of profile: one product of a provider.
pub trait Kind: fmt::Debug + Send + Sync {
    /// Its name, as `kind` takes it.
    fn name(&self) -> &'static str;

    /// Reads the kind's own keys from a profile's section. What is wrong with them is told to
    /// the section.
    fn read(&self, section: &mut Section<'_>) -> Draft;

    /// What a credential says that is no JWT; none where it is of no form that this kind knows.
    /// Begins with [`Reading::opaque`].
    fn read_credential(&self, _: &str, _: View<'_>) -> Option<Reading> {
        None
    }

    /// Whether a secret signed a credential that is no JWT; none where it is of no form that this
    /// kind knows, or of one without a signature.
    fn check_credential(&self, _: &str, _: &SigningSecret) -> Option<Signature> {
        None
    }

    /// What a token of this kind says; none where it is not of this kind. Begins with
    /// [`Reading::of`]: what is odd about any JWT is noted by [`read_token`].
    fn read_token(&self, token: &Jwt, view: View<'_>) -> Option<Reading>;

    /// What the vendor's own libraries make of public test keys, and what makes the same here.
    ///
    /// # Errors
    ///
    /// What is built in was damaged.
    fn vectors(&self) -> Result<Vec<Vector>, VectorError> {
        Ok(Vec::new())
    }

    /// Profiles that show how fast its tokens are signed, by the algorithm.
    ///
    /// # Errors
    ///
    /// What is built in was damaged.
    fn samples(&self) -> Result<Vec<(&'static str, Way)>, VectorError> {
        Ok(Vec::new())
    }

    /// Profiles with public keys, and the emulated upstreams that know them; every kind with an
    /// upstream should have one.
    fn demos(&self) -> Vec<Demo> {
        Vec::new()
    }
}

/// What a token says, by the kind that it is of.
#[must_use]
pub fn read_token(token: &Jwt, view: View<'_>) -> Reading {
    let reading = KINDS.iter().find_map(|kind| kind.read_token(token, view));
    reading.unwrap_or_else(|| Reading::of_no_kind(token)).complete(token, view.now)
}

/// What a credential says that is no JWT; none where no kind knows its form.
#[must_use]
pub fn read_credential(text: &str, view: View<'_>) -> Option<Reading> {
    KINDS.iter().find_map(|kind| kind.read_credential(text, view))
}

/// Whether a secret signed a credential that is no JWT; none where no kind can tell.
#[must_use]
pub fn check_credential(text: &str, secret: &SigningSecret) -> Option<Signature> {
    KINDS.iter().find_map(|kind| kind.check_credential(text, secret))
}

/// What was read of a kind's own keys.
#[derive(Debug)]
pub struct Draft {
    /// What the kind prescribes: known even where its keys are wrong, so that the other keys
    /// can be checked too.
    pub rules: Rules,
    /// The provider; none where one of its keys is wrong.
    pub provider: Option<Arc<dyn Provider>>,
}

impl Draft {
    /// Of these rules, and of what was read.
    pub fn new(rules: Rules, provider: Option<impl Provider + 'static>) -> Self {
        Self { rules, provider: provider.map(|provider| Arc::new(provider) as _) }
    }
}

/// What a kind prescribes, whatever a profile says.
#[derive(Clone)]
pub struct Rules {
    /// The life of tokens where the profile names none.
    pub token_ttl: Duration,
    /// The shortest life that a token may have.
    pub min_token_ttl: Duration,
    /// The longest life that a token may have.
    pub max_token_ttl: Duration,
    /// What tokens are made with.
    pub supply: SupplyRules,
    /// What tokens say.
    pub tokens: TokenRules,
    /// Takes a resource of the kind's form, and brings it into the one form that it is known by.
    pub parse_resource: fn(&str) -> Result<Resource, NameError>,
}

/// What a kind's tokens are made with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SupplyRules {
    /// A grant for each resource, from the provider's upstream.
    Grants(GrantRules),
    /// The same, and the grant is the token: all callers of a resource share it.
    Forwarded(GrantRules),
    /// A key alone.
    Key,
}

/// What a kind prescribes for its grants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GrantRules {
    /// How long they live.
    pub life: LifeRules,
    /// The refresh point where a profile names none, as a share of a grant's life.
    pub refresh_at: f64,
}

/// Who decides how long a kind's grants live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifeRules {
    /// Requests ask for a life, so that `grant_ttl` is a key.
    Asked {
        /// The life where a profile names none.
        default: Duration,
        /// The longest life that may be asked for.
        max: Duration,
    },
    /// The answer says: nothing asks for a life, and `grant_ttl` is no key.
    Told,
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

/// A kind with a profile's values for its own keys. Its `Debug` shows no secret.
pub trait Provider: fmt::Debug + Send + Sync {
    /// The kind's own keys as they may be shown: never a secret, only where it is.
    fn shown(&self) -> Vec<(&'static str, Value)>;

    /// What whoever configures it should know, a sentence each.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// The format of its tokens, which say of themselves what the profile does.
    fn token_format(&self, tokens: &Tokens) -> Arc<dyn TokenFormat>;

    /// Where its grants come from; none where tokens are made with a key alone.
    fn upstream(&self) -> Option<&dyn Upstream> {
        None
    }
}

/// Where a provider's grants come from.
pub trait Upstream: fmt::Debug + Send + Sync {
    /// The upstream and account whose budget is shared; equal for profiles that share it.
    fn account(&self) -> String;

    /// How it is reached, by the profile and the environment.
    ///
    /// # Errors
    ///
    /// The profile's or the environment's proxy or roots cannot be used.
    fn egress(&self) -> Result<Egress, EgressError>;

    /// How long an attempt to get a grant may take: the source's own limit, from which the
    /// schedule and what it promises follow.
    fn attempt(&self) -> Duration {
        DEFAULT_TIMEOUT
    }

    /// The source of grants, reached by `egress`. `grant_ttl` is the life that they are asked to
    /// have: none where the kind's requests ask for none ([`LifeRules::Told`]).
    fn source(
        &self,
        clock: Clock,
        egress: &Egress,
        grant_ttl: Option<Duration>,
    ) -> Arc<dyn GrantSource>;

    /// The provider with another upstream in this one's place.
    fn replaced_by(&self, upstream: &BaseUrl) -> Arc<dyn Provider>;

    /// It emulated: an endpoint that knows the profile's credential.
    fn endpoint(&self) -> Arc<dyn Endpoint>;
}
