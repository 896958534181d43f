//! Plans a call, finds a usable grant, and signs.

use std::time::Duration;

use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use super::{
    Grants, Limits,
    options::{Options, Refusal},
    profile::Signing,
    quota::{Charge, Ids, Issued, Quota, QuotaError, Recipients, Wanted},
    resolve::Profiles,
    terms::Terms,
    wait::WaitLimit,
};
pub use super::{
    draft::Draft,
    plan::Plan,
    profile::{Allowed, Forwarded, Key, Profile, Supply},
    resolve::Target,
};
use crate::{
    clock::{Clock, WallTime},
    drain::{Drain, Phase},
    name::{Identity, ProfileName},
    token::{SignError, Speed, id::Serials, pool::Pool},
};

/// The retry delay reported while nothing can be recorded; the audit log retries sooner than this.
const RECORD_RETRY: Duration = Duration::from_secs(1);

/// One token.
pub struct Minted {
    /// The credential; secret.
    pub token: String,
    /// The unique id.
    pub token_id: String,
    /// The token's validity.
    pub terms: Terms,
}

/// Why a valid call gets no token now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The upstream reports that the resource does not exist.
    ResourceNotFound,
    /// The upstream rejects the credential; an operator must fix it.
    UpstreamRejected,
    /// The upstream throttles the account.
    UpstreamThrottled,
    /// The grant expired at this time and the next one is late.
    GrantExpired(WallTime),
    /// No grant has been received yet.
    GrantPending,
    /// No grant newer than requested has been received yet.
    GrantNotNewer,
    /// The grant expires too soon for the request.
    GrantTooShort,
    /// The server is draining.
    Draining,
    /// Signing failed.
    SigningFailed,
    /// Too many slow signatures are queued.
    Overloaded,
    /// The caller's quota is exhausted.
    QuotaExceeded,
    /// The forwarded grant lives longer than the caller's tokens may; the limit.
    LivesTooLong(Duration),
    /// The token must be recorded and cannot be.
    Unrecorded,
}

/// A call that gets no token now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unserved {
    /// The cause.
    pub cause: Cause,
    /// When a retry may succeed, from now: the next refresh attempt, or the queued slow signatures,
    /// should be finished by then.
    pub retry_in: Duration,
}

impl From<SignError> for Unserved {
    fn from(_: SignError) -> Self {
        Self { cause: Cause::SigningFailed, retry_in: Duration::ZERO }
    }
}

/// What a minter is built from.
#[derive(Debug)]
pub struct Parts {
    /// Limits on one call.
    pub limits: Limits,
    /// Numbers the tokens.
    pub serials: Serials,
    /// Makes slow signatures; none if no profile needs it.
    pub pool: Option<Pool>,
    /// The clock.
    pub clock: Clock,
    /// Reports shutdown.
    pub drain: Drain,
}

/// Mints tokens. Does no work that can be done at publish, and takes no lock.
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
    /// Mints for these profiles. `grants` has a cell for each of their resources that has a grant.
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

    /// The number of calls waiting for a grant.
    #[must_use]
    pub fn waiting_calls(&self) -> usize {
        self.limits.waiting_calls.saturating_sub(self.waiting.available_permits())
    }

    /// Resolves what a call names. Refuses nothing yet.
    #[must_use]
    pub fn target<'a>(&'a self, options: &Options<'a>) -> Target<'a> {
        self.profiles.target(options)
    }

    /// Checks that the call's profile and resource exist, and the fields that do not depend on the
    /// tokens' lifetime.
    ///
    /// # Errors
    ///
    /// The profile or its resource does not exist.
    pub fn draft<'a>(
        &'a self,
        target: &Target<'a>,
        options: &Options<'_>,
    ) -> Result<Draft<'a>, Refusal> {
        let (profile, entry) = target.found()?;
        Ok(Draft::new(profile, entry, options, &self.clock))
    }

    /// The failure of a call whose tokens cannot be recorded.
    pub(super) const fn unrecorded() -> Unserved {
        Unserved { cause: Cause::Unrecorded, retry_in: RECORD_RETRY }
    }

    /// Mints one token. Waits for a grant and for the caller's quota as the plan allows.
    pub async fn mint(
        &self,
        plan: &Plan,
        identity: &Identity,
        deadline: Option<Instant>,
        quota: &dyn Quota,
    ) -> Result<Minted, Unserved> {
        let mut wait = WaitLimit::new(plan, deadline, quota);
        let recipients = Recipients::One(identity);
        loop {
            let candidate = self.candidate(plan, &mut wait).await?;
            match quota.take(&Wanted { min: 1, max: 1, units_each: plan.units, recipients }) {
                Ok(taken) => {
                    let charge = Charge::new(quota, taken);
                    let minted = match plan.signing {
                        Signing::Own(Speed::Fast) => self.sign(plan, &candidate, identity),
                        _ => self.sign_slowly(plan, &candidate, identity, deadline).await,
                    }?;
                    charge.spend(|| Issued {
                        recipients,
                        ids: Ids::One(&minted.token_id),
                        terms: &minted.terms,
                        origin: plan.entry.origin(),
                    });
                    return Ok(minted);
                }
                // The grant may have expired by the time there is quota, so the loop looks again.
                Err(QuotaError::Units(refill)) => self.wait_for_units(refill, &mut wait).await?,
                Err(QuotaError::Record) => return Err(Self::unrecorded()),
            }
        }
    }

    /// Waits for `refill`, after which the caller's quota should hold what the call needs.
    ///
    /// # Errors
    ///
    /// The wait would end too late, too many calls wait already, or the server is draining.
    pub(super) async fn wait_for_units(
        &self,
        refill: Duration,
        wait: &mut WaitLimit<'_>,
    ) -> Result<(), Unserved> {
        let exceeded = Unserved { cause: Cause::QuotaExceeded, retry_in: refill };
        if Instant::now() + refill > wait.until() {
            return Err(exceeded);
        }
        let _permit = wait.quota.wait_for_units().ok_or(exceeded)?;
        tokio::select! {
            () = sleep(refill) => Ok(()),
            () = self.drain.wait(Phase::Draining) => Err(Self::draining()),
        }
    }
}

#[cfg(test)]
mod tests;
