//! A call that is planned: what it names exists, and what is wrong with its fields is collected.

use std::time::Duration;

use super::{
    Limits,
    minter::Plan,
    options::{Field, Invalid, Options, Refusal, Violation},
    profile::{self, Profile, Supply},
    resolve::Seat,
    terms::{Ask, ExpiryPolicy},
};
use crate::{clock::Clock, grant::Generation, token::params::Values};

/// How long a call waits for a grant unless it says otherwise.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(2);

/// A call whose profile and resource are known, before it is known how long its tokens may live.
#[derive(Debug)]
pub struct Draft<'a> {
    profile: &'a Profile,
    seat: Option<Seat>,
    /// Its ttl is the profile's where the call wants none.
    ask: Ask,
    wants_ttl: bool,
    max_wait: Duration,
    params: Option<Values>,
    /// What is wrong with the fields that are told before those of the life.
    before: Vec<Violation>,
    /// What is wrong with those that are told after them.
    after: Vec<Violation>,
}

impl<'a> Draft<'a> {
    /// Checks the fields that do not depend on the life of the tokens; `seat` is the bad field
    /// where the call's resource is one.
    pub(super) fn new(
        profile: &'a Profile,
        seat: Result<Seat, Violation>,
        options: &Options<'_>,
        clock: &Clock,
    ) -> Self {
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
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let seat = seat.map_err(|violation| before.push(violation)).ok();
        profile.check_own_end(options, &mut before);
        let generation = options.after_generation;
        after.extend(profile.check_generation(generation, seat.as_ref(), clock).err());
        let params = profile.check_params(options.params, &mut after);
        let max_wait = options.max_wait.unwrap_or(DEFAULT_MAX_WAIT);
        let wants_ttl = options.ttl.is_some();
        Self { profile, seat, ask, wants_ttl, max_wait, params, before, after }
    }

    /// Whether nothing is wrong with the fields so far.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// The most indices that a bulk of the profile may ask for.
    #[must_use]
    pub fn most_indices(&self, limits: Limits) -> i64 {
        limits.most_indices(self.profile.signing)
    }

    /// Whether the profile's tokens can be for an identity that is in `field`.
    ///
    /// # Errors
    ///
    /// Its kind has a rule of its own, which the identity does not fit.
    pub fn check_identity(&self, identity: &str, field: Field) -> Result<(), Violation> {
        match self.profile.identity_form {
            Some(form) if !(form.fits)(identity) => {
                Err(Violation::new(field, Invalid::Identity, form.wanted))
            }
            _ => Ok(()),
        }
    }

    /// Checks what depends on the life of the tokens too, of which the caller may have no more
    /// than `max_ttl`. All that is wrong comes back together, the resource first.
    ///
    /// # Errors
    ///
    /// The call asks wrongly.
    pub fn plan(self, max_ttl: Option<Duration>) -> Result<Plan, Refusal> {
        let Self { profile, seat, mut ask, wants_ttl, max_wait, params, before, after } = self;
        if let (Some(max_ttl), false, false) = (max_ttl, wants_ttl, profile.hands_its_grant_on()) {
            ask.ttl = ask.ttl.min(max_ttl);
        }
        let mut bad = before;
        profile.check(&ask, seat.as_ref(), &mut bad);
        if !after.is_empty() {
            bad.extend(after);
        }
        match (seat, params) {
            (Some(seat), Some(params)) if bad.is_empty() => {
                let (units, signing) = (profile.units, profile.signing);
                Ok(Plan { seat, ask, wants_ttl, max_ttl, max_wait, params, units, signing })
            }
            _ => Err(Refusal::Invalid(bad)),
        }
    }
}
