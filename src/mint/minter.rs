//! Plans a call, finds a grant that will do, and signs.

use std::time::Duration;

use tokio::{sync::Semaphore, time::Instant};

use super::{
    Grants, Limits,
    hold::Hold,
    options::{Options, Refusal},
    profile::Signing,
    quota::{Charge, Ids, Issued, Quota, Recipients, Short, Wanted},
    resolve::{Profiles, Seat},
    terms::{Ask, Terms},
};
pub use super::{
    draft::Draft,
    profile::{Allowed, Forwarded, Key, Profile, Supply},
    resolve::Target,
};
use crate::{
    clock::{Clock, WallTime},
    drain::Drain,
    name::{Identity, ProfileName},
    token::{Call, SignError, Speed, id::Serials, params::Values, pool::Pool},
};

/// Kept free before a call's deadline to answer in.
pub const ANSWER_ALLOWANCE: Duration = Duration::from_millis(50);

/// When to try again where nothing can be recorded: writing is tried again in less.
const RECORDED_AGAIN: Duration = Duration::from_secs(1);

/// A call whose arguments are good.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) seat: Seat,
    pub(super) ask: Ask,
    pub(super) wants_ttl: bool,
    /// The longest life that the caller's tokens may have.
    pub(super) max_ttl: Option<Duration>,
    pub(super) max_wait: Duration,
    /// What the call's tokens say, by the places of the kind's parameters.
    pub(super) params: Values,
    /// What a token costs.
    pub(super) units: u32,
    pub(super) signing: Signing,
}

impl Plan {
    /// Changes the longest life that the caller's tokens may have. The life of a token that is
    /// its grant is not the call's to cut: it is compared with the limit when it is known.
    pub fn limit_ttl(&mut self, max_ttl: Option<Duration>) {
        self.max_ttl = max_ttl;
        let is_given = self.wants_ttl || self.seat.profile().hands_its_grant_on();
        if let (Some(max_ttl), false) = (max_ttl, is_given) {
            self.ask.ttl = self.ask.ttl.min(max_ttl);
        }
    }

    /// The grant that it is served from: `profiles/{profile}/grants/{resource}`; empty where
    /// there is none.
    #[must_use]
    pub fn grant_name(&self) -> &str {
        match &self.seat {
            Seat::Granted(granted) => &granted.name,
            Seat::Keyed(..) => "",
        }
    }

    /// What the call puts into its tokens.
    pub(super) fn call(&self) -> Call<'_> {
        Call { resource: self.seat.resource(), params: &self.params }
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
    /// Too many slow signatures wait.
    Overloaded,
    /// The caller has used up its quota.
    QuotaExceeded,
    /// The grant, which is the token, lives longer than the caller's tokens may.
    LivesTooLong(Duration),
    /// What is minted must be recorded, and cannot be.
    Unrecorded,
}

/// A call that gets no token, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// Why.
    pub cause: Cause,
    /// When another call may be served, from now: the next attempt to get a grant should have
    /// ended, or the slow signatures that wait now have been made.
    pub retry_in: Duration,
}

impl From<SignError> for Unserved {
    fn from(_: SignError) -> Self {
        Self { cause: Cause::SigningFailed, retry_in: Duration::ZERO }
    }
}

/// What a minter works with.
#[derive(Debug)]
pub struct Parts {
    /// Limits on what one call may ask for.
    pub limits: Limits,
    /// Numbers the tokens.
    pub serials: Serials,
    /// Makes slow signatures; none where no profile has such.
    pub pool: Option<Pool>,
    /// The time.
    pub clock: Clock,
    /// Whether the server goes away.
    pub drain: Drain,
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
    pub(super) pool: Option<Pool>,
}

impl Minter {
    /// A minter of these profiles over `grants`, in which every resource of theirs that has a
    /// grant has its cell.
    #[must_use]
    pub fn new(
        profiles: Vec<Profile>,
        default_profile: Option<ProfileName>,
        grants: &Grants,
        parts: Parts,
    ) -> Self {
        let Parts { limits, serials, pool, clock, drain } = parts;
        Self {
            profiles: Profiles::new(profiles, default_profile, grants),
            clock,
            drain,
            serials,
            waiting: Semaphore::new(limits.waiting_calls),
            limits,
            pool,
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

    /// What a call is for. Nothing is refused yet.
    #[must_use]
    pub fn target<'a>(&'a self, options: &Options<'a>) -> Target<'a> {
        self.profiles.target(options)
    }

    /// Checks that what a call is for exists, and its fields as far as they do not depend on the
    /// life of its tokens.
    ///
    /// # Errors
    ///
    /// There is no such profile, or no such resource in it.
    pub fn draft<'a>(
        &'a self,
        target: &Target<'a>,
        options: &Options<'_>,
    ) -> Result<Draft<'a>, Refusal> {
        let (profile, seat) = target.found()?;
        Ok(Draft::new(profile, seat, options, &self.clock))
    }

    /// What a call gets whose tokens cannot be recorded.
    pub(super) const fn unrecorded() -> Unserved {
        Unserved { cause: Cause::Unrecorded, retry_in: RECORDED_AGAIN }
    }

    /// Mints one token, waiting for a grant and for the caller's quota as the plan allows.
    pub async fn mint(
        &self,
        plan: &Plan,
        identity: &Identity,
        deadline: Option<Instant>,
        quota: &dyn Quota,
    ) -> Result<Minted, Unserved> {
        let mut hold = Hold::new(plan, deadline, quota);
        let recipients = Recipients::One(identity);
        loop {
            let offer = self.offer(plan, &mut hold).await?;
            match quota.take(&Wanted { least: 1, most: 1, each: plan.units, recipients }) {
                Ok(taken) => {
                    let charge = Charge::new(quota, taken);
                    let minted = match plan.signing {
                        Signing::Own(Speed::Fast) => self.sign(plan, &offer, identity),
                        _ => self.sign_slowly(plan, &offer, identity, deadline).await,
                    }?;
                    charge.spend(|| Issued {
                        recipients,
                        ids: Ids::One(&minted.token_id),
                        terms: &minted.terms,
                        origin: plan.seat.origin(),
                    });
                    return Ok(minted);
                }
                // The grant may have ended when there is quota again.
                Err(Short::Units(refill)) => self.wait_for_units(refill, &mut hold).await?,
                Err(Short::Record) => return Err(Self::unrecorded()),
            }
        }
    }
}

#[cfg(test)]
mod tests;
