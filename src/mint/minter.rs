//! Plans a call, finds a grant that will do, and signs.

use std::time::Duration;

use tokio::{sync::Semaphore, time::Instant};

pub use super::profile::{Allowed, Forwarded, Key, Profile, Supply};
use super::{
    Grants, Limits,
    options::{Field, Invalid, Options, Refusal, Violation},
    profile,
    resolve::{Profiles, Seat},
    terms::{Ask, ExpiryPolicy, Terms},
};
use crate::{
    clock::{Clock, WallTime},
    drain::Drain,
    grant::Generation,
    name::{Identity, ProfileName},
    token::{
        Call, SignError,
        id::{Serials, fingerprint},
        params::Values,
    },
};

/// How long a call waits for a grant unless it says otherwise.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(2);

/// Kept free before a call's deadline to answer in.
pub const ANSWER_ALLOWANCE: Duration = Duration::from_millis(50);

/// A call whose arguments are good.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) seat: Seat,
    pub(super) ask: Ask,
    pub(super) max_wait: Duration,
    /// What the call's tokens say, by the places of the kind's parameters.
    params: Values,
}

impl Plan {
    /// The grant that it is served from: `profiles/{profile}/grants/{resource}`; empty where
    /// there is none.
    #[must_use]
    pub fn grant_name(&self) -> &str {
        match &self.seat {
            Seat::Granted(granted) => &granted.name,
            Seat::Keyed(..) => "",
        }
    }

    /// Whether the profile's tokens can be for an identity that is in `field`.
    ///
    /// # Errors
    ///
    /// Its kind has a rule of its own, which the identity does not fit.
    pub fn check_identity(&self, identity: &str, field: Field) -> Result<(), Violation> {
        let profile = match &self.seat {
            Seat::Granted(granted) => &granted.profile,
            Seat::Keyed(profile, _) => profile,
        };
        match profile.identity_form {
            Some(form) if !(form.fits)(identity) => {
                Err(Violation::new(field, Invalid::Identity, form.wanted))
            }
            _ => Ok(()),
        }
    }

    /// What the call puts into its tokens.
    pub(super) fn call(&self) -> Call<'_> {
        let resource = match &self.seat {
            Seat::Granted(granted) => granted.resource.as_str(),
            Seat::Keyed(_, resource) => resource.as_ref().map_or("", |it| it.as_str()),
        };
        Call { resource, params: &self.params }
    }
}

/// One token.
pub struct Minted {
    /// The credential: a secret.
    pub token: String,
    /// Its unique id.
    pub token_id: String,
    /// How long it is good for.
    pub terms: Terms,
}

/// Why a call with good arguments gets no token, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The upstream says that the resource does not exist.
    ResourceNotFound,
    /// The upstream refuses; a person must act.
    UpstreamRejected,
    /// The upstream asks the account to wait.
    UpstreamThrottled,
    /// The grant's life is over and its successor is late; it ended then.
    GrantExpired(WallTime),
    /// There is no grant yet.
    GrantPending,
    /// No grant newer than asked yet.
    GrantNotNewer,
    /// The grant has not the life asked for.
    GrantTooShort,
    /// The server goes away.
    Draining,
    /// A signature could not be made.
    SigningFailed,
}

/// A call that gets no token, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// Why.
    pub cause: Cause,
    /// When the next attempt to get a grant should end, from now.
    pub retry_in: Duration,
}

impl From<SignError> for Unserved {
    fn from(_: SignError) -> Self {
        Self { cause: Cause::SigningFailed, retry_in: Duration::ZERO }
    }
}

/// Mints tokens. Readers do no work that could be done at publish, and take no lock.
#[derive(Debug)]
pub struct Minter {
    profiles: Profiles,
    pub(super) clock: Clock,
    pub(super) drain: Drain,
    pub(super) serials: Serials,
    pub(super) limits: Limits,
    pub(super) waiting: Semaphore,
}

impl Minter {
    /// A minter of these profiles over `grants`, in which every resource of theirs that has a
    /// grant has its cell.
    #[must_use]
    pub fn new(
        profiles: Vec<Profile>,
        default_profile: Option<ProfileName>,
        grants: &Grants,
        limits: Limits,
        serials: Serials,
        clock: Clock,
        drain: Drain,
    ) -> Self {
        Self {
            profiles: Profiles::new(profiles, default_profile, grants),
            clock,
            drain,
            serials,
            waiting: Semaphore::new(limits.waiting_calls),
            limits,
        }
    }

    /// The limits on one call.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How many calls wait for a grant now.
    #[must_use]
    pub fn waiting_calls(&self) -> usize {
        self.limits.waiting_calls.saturating_sub(self.waiting.available_permits())
    }

    /// Checks what a call asks for. All that is wrong comes back together, the profile and the
    /// resource first.
    ///
    /// # Errors
    ///
    /// The call asks wrongly.
    pub fn plan(&self, options: &Options<'_>) -> Result<Plan, Refusal> {
        let seats = self.profiles.find(options.profile)?;
        let profile = &seats.profile;
        let clamp = ExpiryPolicy::ClampToGrant;
        let (ttl, policy) = match &profile.supply {
            Supply::Grants(profile::Grants { policy, .. }) => {
                (options.ttl, options.policy.unwrap_or(*policy))
            }
            // What a call says of these is refused.
            Supply::Forwarded(_) => (None, clamp),
            Supply::Key(_) => (options.ttl, options.policy.unwrap_or(clamp)),
        };
        let ask = Ask {
            ttl: ttl.unwrap_or(profile.token_ttl),
            min_remaining: options.min_remaining,
            policy,
            after: Generation::from_caller(options.after_generation),
        };
        let mut bad = Vec::new();
        let seat = seats.seat(options.resource)?.map_err(|violation| bad.push(violation)).ok();
        profile.check_own_end(options, &mut bad);
        profile.check(&ask, seat.as_ref(), &mut bad);
        let after = options.after_generation;
        bad.extend(profile.check_generation(after, seat.as_ref(), &self.clock).err());
        let params = profile.check_params(options.params, &mut bad);
        match (seat, params) {
            (Some(seat), Some(params)) if bad.is_empty() => {
                let max_wait = options.max_wait.unwrap_or(DEFAULT_MAX_WAIT);
                Ok(Plan { seat, ask, max_wait, params })
            }
            _ => Err(Refusal::Invalid(bad)),
        }
    }

    /// Mints one token, waiting for a grant as the plan allows.
    pub async fn mint(
        &self,
        plan: &Plan,
        identity: &Identity,
        deadline: Option<Instant>,
    ) -> Result<Minted, Unserved> {
        let offer = self.offer(plan, deadline).await?;
        let serial = self.serials.next();
        let stamped = offer.stamped(plan)?;
        let token = String::from(stamped.sign(identity.as_str(), serial)?);
        let token_id = stamped.token_id(serial).unwrap_or_else(|| fingerprint(&token));
        Ok(Minted { token, token_id, terms: offer.terms })
    }
}

#[cfg(test)]
mod tests;
