//! What minting needs to know of a profile.

use std::{fmt, time::Duration};

use super::terms::ExpiryPolicy;
use crate::{
    name::{IdentityForm, NameError, Pattern, ProfileName, Resource},
    token::{PresentSigner, Speed, TokenFormat, params::Parameters},
};

/// What minting needs to know of a profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Its name.
    pub name: ProfileName,
    /// The resource of calls that name none.
    pub default_resource: Option<Resource>,
    /// The kind's rule for resources.
    pub parse_resource: fn(&str) -> Result<Resource, NameError>,
    /// Token life of calls that ask for none; without end where tokens are their grant.
    pub token_ttl: Duration,
    /// The shortest token life that may be asked for.
    pub min_token_ttl: Duration,
    /// The longest token life that may be asked for.
    pub max_token_ttl: Duration,
    /// Kept in hand of a token's usable life.
    pub margin: Duration,
    /// The kind's own rule for identities; none where its tokens name nobody.
    pub identity_form: Option<IdentityForm>,
    /// What its tokens say beside resource, identity and times.
    pub parameters: Parameters,
    /// What a token costs, in units of an HMAC.
    pub units: u32,
    /// How its signatures are made.
    pub signing: Signing,
    /// What its tokens are made with.
    pub supply: Supply,
}

impl Profile {
    /// Whether its tokens are their grant, whose end is theirs.
    pub(super) const fn hands_its_grant_on(&self) -> bool {
        matches!(self.supply, Supply::Forwarded(_))
    }
}

/// How a profile's signatures are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// One for each token.
    Own(Speed),
    /// One for all calls of a period that say the same.
    Shared(Speed),
}

impl Signing {
    /// Of a format whose signatures are reused for so long, if they are.
    #[must_use]
    pub fn of(format: &dyn TokenFormat, reuse_for: Option<Duration>) -> Self {
        match reuse_for {
            // An HMAC costs less than a look at those that are kept.
            Some(_) if format.units() > 1 || !format.repeats() => Self::Shared(format.speed()),
            _ => Self::Own(format.speed()),
        }
    }

    /// Where they are made.
    #[must_use]
    pub const fn speed(self) -> Speed {
        match self {
            Self::Own(speed) | Self::Shared(speed) => speed,
        }
    }
}

/// What a profile's tokens are made with.
#[derive(Clone, Debug)]
pub enum Supply {
    /// A grant for each resource.
    Grants(Grants),
    /// The same, and the grant is the token.
    Forwarded(Forwarded),
    /// A key alone.
    Key(Key),
}

/// Of a profile whose tokens are made with grants.
#[derive(Clone, Debug)]
pub struct Grants {
    /// The resources, each of which has a grant.
    pub resources: Vec<Resource>,
    /// The life that grants are asked for; none where only their answers tell it.
    pub grant_ttl: Option<Duration>,
    /// Where a token would outlive its grant.
    pub policy: ExpiryPolicy,
    /// Whether calls may ask for tokens that outlive their grant.
    pub allow_independent: bool,
}

/// Of a profile whose tokens are its grants as they came.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// The resources, each of which has a grant.
    pub resources: Vec<Resource>,
    /// The life that grants are asked for; none where only their answers tell it.
    pub grant_ttl: Option<Duration>,
}

/// Of a profile whose tokens are made with a key alone.
#[derive(Clone)]
pub struct Key {
    /// Signs them.
    pub signer: PresentSigner,
    /// The resources that calls may name.
    pub resources: Allowed,
    /// How long before the issue the token's life is counted from.
    pub iat_backdate: Duration,
    /// How long one signature is used for, from a whole multiple of it on the wall clock; none
    /// where each token is its own.
    pub reuse_for: Option<Duration>,
    /// How long a token may wait for its signature before it is handed out.
    pub signing_time: Duration,
}

impl Key {
    /// How much of a token's life may be over when it is handed out.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.iat_backdate + self.reuse_for.unwrap_or_default() + self.signing_time
    }
}

/// The resources that calls of a profile may name.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// These.
    pub listed: Vec<Resource>,
    /// Those that match one of these.
    pub patterns: Vec<Pattern>,
    /// Whether a call may name none, so that its token is good for all.
    pub unscoped: bool,
}

impl Allowed {
    /// Whether a call may name this one.
    #[must_use]
    pub fn has(&self, resource: &Resource) -> bool {
        self.listed.contains(resource) || self.matches(resource)
    }

    /// Whether it is of one of the patterns.
    #[must_use]
    pub fn matches(&self, resource: &Resource) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(resource.as_str()))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("resources", &self.resources).finish_non_exhaustive()
    }
}
