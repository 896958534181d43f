//! What minting needs to know about a profile.

use std::{fmt, time::Duration};

use super::terms::{ExpiryPolicy, Terms};
use crate::{
    clock::{Anchor, WallTime},
    grant::Generation,
    name::{IdentityForm, NameError, Pattern, ProfileName, Resource},
    telemetry::ProfileMetrics,
    token::{CurrentSigner, Speed, TokenFormat, params::Parameters},
};

/// What minting needs to know about a profile.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The name.
    pub name: ProfileName,
    /// The resource of calls that name none.
    pub default_resource: Option<Resource>,
    /// The kind's rule for resources.
    pub parse_resource: fn(&str) -> Result<Resource, NameError>,
    /// The default token lifetime; unlimited for forwarded grants.
    pub token_ttl: Duration,
    /// The shortest token lifetime that a call may request.
    pub min_token_ttl: Duration,
    /// The longest token lifetime that a call may request.
    pub max_token_ttl: Duration,
    /// Time kept in reserve at the end of a token's validity.
    pub margin: Duration,
    /// The kind's own rule for identities; none where its tokens carry no identity.
    pub identity_form: Option<IdentityForm>,
    /// What tokens carry besides resource, identity and times.
    pub parameters: Parameters,
    /// The cost of a token, in units of one HMAC.
    pub units: u32,
    /// How signatures are made.
    pub signing: Signing,
    /// What tokens are made with.
    pub supply: Supply,
    /// Counts its tokens.
    pub metrics: ProfileMetrics,
}

impl Profile {
    /// Whether the grant is returned as the token, so that both expire together.
    pub(super) const fn forwards_its_grant(&self) -> bool {
        matches!(self.supply, Supply::Forwarded(_))
    }
}

/// How a profile's signatures are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// One signature for each token.
    Own(Speed),
    /// One signature for all calls of a period with the same claims.
    Shared(Speed),
}

impl Signing {
    /// The way of signing for a format whose signatures are reused for `reuse_for`.
    #[must_use]
    pub fn of(format: &dyn TokenFormat, reuse_for: Option<Duration>) -> Self {
        match reuse_for {
            // An HMAC costs less than a look-up of a kept signature.
            Some(_) if format.units() > 1 || !format.repeats() => Self::Shared(format.speed()),
            _ => Self::Own(format.speed()),
        }
    }

    /// Where signatures are made.
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
    /// One grant for each resource.
    Grants(Grants),
    /// One grant for each resource, returned as the token.
    Forwarded(Forwarded),
    /// A key alone.
    Key(Key),
}

/// A profile whose tokens are made with grants.
#[derive(Clone, Debug)]
pub struct Grants {
    /// The resources; each has a grant.
    pub resources: Vec<Resource>,
    /// The lifetime requested for grants; none where only the response reports it.
    pub grant_ttl: Option<Duration>,
    /// What to do when a token would outlive its grant.
    pub policy: ExpiryPolicy,
    /// Whether calls may request tokens that outlive their grant.
    pub allow_independent: bool,
}

/// A profile that returns its grants unchanged.
#[derive(Clone, Debug)]
pub struct Forwarded {
    /// The resources; each has a grant.
    pub resources: Vec<Resource>,
    /// The lifetime requested for grants; none where only the response reports it.
    pub grant_ttl: Option<Duration>,
}

/// A profile whose tokens are made with a key alone.
#[derive(Clone)]
pub struct Key {
    /// Signs the tokens.
    pub signer: CurrentSigner,
    /// The resources that calls may name.
    pub resources: Allowed,
    /// A token's lifetime is counted from this long before its issue.
    pub iat_backdate: Duration,
    /// How long one signature is reused, in periods aligned to multiples of this on the wall clock;
    /// none where each token has its own signature.
    pub reuse_for: Option<Duration>,
    /// How long a token may wait for its signature.
    pub signing_time: Duration,
}

impl Key {
    /// How much of a token's lifetime may have passed when it is returned.
    #[must_use]
    pub fn spent(&self) -> Duration {
        self.iat_backdate + self.reuse_for.unwrap_or_default() + self.signing_time
    }

    /// The terms of a token with this lifetime that is returned at `now`. The lifetime is counted
    /// from the backdate before its issue. It is issued now, or, with a shared signature, at the
    /// start of the current period, which is the same on all replicas.
    #[must_use]
    pub fn terms(&self, ttl: Duration, margin: Duration, now: Anchor) -> Terms {
        let since_issue =
            self.reuse_for.map_or(Duration::ZERO, |period| now.wall.since_multiple_of(period));
        let expires_within = ttl.saturating_sub(self.iat_backdate + since_issue);
        let use_within = expires_within.saturating_sub(margin);
        Terms {
            issue: now.wall - since_issue,
            expire: WallTime::from_unix_seconds((now.wall + expires_within).unix_seconds()),
            use_by: now.wall + use_within,
            use_within,
            generation: Generation::NONE,
        }
    }
}

/// The resources that calls to a profile may name.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Listed resources.
    pub listed: Vec<Resource>,
    /// Resources that match one of these patterns.
    pub patterns: Vec<Pattern>,
    /// Whether a call may name no resource, so that its token is valid for all.
    pub unscoped: bool,
}

impl Allowed {
    /// Whether a call may name this resource.
    #[must_use]
    pub fn has(&self, resource: &Resource) -> bool {
        self.listed.contains(resource) || self.matches(resource)
    }

    /// Whether a pattern matches the resource.
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
