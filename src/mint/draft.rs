//! A call whose profile and resource are known, with the violations found in its other fields.

use std::time::Duration;

use super::{
    Limits,
    options::{Field, Invalid, Options, Refusal, Violation},
    plan::Plan,
    profile::{self, Profile, Supply},
    resolve::ResourceEntry,
    terms::{ExpiryPolicy, TokenRequest},
};
use crate::{clock::Clock, grant::Generation, token::params::Values};

/// How long a call waits for a grant by default.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(2);

/// A call with a known profile and resource, before the limit on its tokens' lifetime is known.
#[derive(Debug)]
pub struct Draft<'a> {
    profile: &'a Profile,
    entry: Option<ResourceEntry>,
    /// Its ttl is the profile's where the call sets none.
    request: TokenRequest,
    wants_ttl: bool,
    max_wait: Duration,
    params: Option<Values>,
    /// Violations reported before those of the lifetime.
    before: Vec<Violation>,
    /// Violations reported after those of the lifetime.
    after: Vec<Violation>,
}

impl<'a> Draft<'a> {
    /// Checks the fields that do not depend on the tokens' lifetime. `entry` is an error where the
    /// call's resource is malformed.
    pub(super) fn new(
        profile: &'a Profile,
        entry: Result<ResourceEntry, Violation>,
        options: &Options<'_>,
        clock: &Clock,
    ) -> Self {
        let clamp = ExpiryPolicy::ClampToGrant;
        let (ttl, policy) = match &profile.supply {
            Supply::Grants(profile::Grants { policy, .. }) => {
                (options.ttl, options.policy.unwrap_or(*policy))
            }
            // A call that sets these is refused.
            Supply::Forwarded(_) => (None, clamp),
            Supply::Key(_) => (options.ttl, options.policy.unwrap_or(clamp)),
        };
        let request = TokenRequest {
            ttl: ttl.unwrap_or(profile.token_ttl),
            min_remaining: options.min_remaining,
            policy,
            after: Generation::from_caller(options.after_generation),
        };
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let entry = entry.map_err(|violation| before.push(violation)).ok();
        profile.check_own_expiry(options, &mut before);
        let generation = options.after_generation;
        after.extend(profile.check_generation(generation, entry.as_ref(), clock).err());
        let params = profile.check_params(options.params, &mut after);
        let max_wait = options.max_wait.unwrap_or(DEFAULT_MAX_WAIT);
        let wants_ttl = options.ttl.is_some();
        Self { profile, entry, request, wants_ttl, max_wait, params, before, after }
    }

    /// Whether no violation was found so far.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.before.is_empty() && self.after.is_empty()
    }

    /// The maximum indices in one bulk call of the profile.
    #[must_use]
    pub fn max_indices(&self, limits: Limits) -> i64 {
        limits.max_indices(self.profile.signing)
    }

    /// Checks that the profile's tokens can carry the identity in `field`.
    ///
    /// # Errors
    ///
    /// The identity breaks a rule of the profile's kind.
    pub fn check_identity(&self, identity: &str, field: Field) -> Result<(), Violation> {
        match self.profile.identity_form {
            Some(form) if !(form.fits)(identity) => {
                Err(Violation::new(field, Invalid::Identity, form.wanted))
            }
            _ => Ok(()),
        }
    }

    /// Checks the remaining fields, with the caller's `max_ttl` as a limit on the tokens' lifetime.
    /// Reports all violations together, the resource first.
    ///
    /// # Errors
    ///
    /// At least one field is invalid.
    pub fn plan(self, max_ttl: Option<Duration>) -> Result<Plan, Refusal> {
        let Self { profile, entry, mut request, wants_ttl, max_wait, params, before, after } = self;
        if let (Some(max_ttl), false, false) = (max_ttl, wants_ttl, profile.forwards_its_grant()) {
            request.ttl = request.ttl.min(max_ttl);
        }
        let mut bad = before;
        profile.check(&request, entry.as_ref(), &mut bad);
        if !after.is_empty() {
            bad.extend(after);
        }
        match (entry, params) {
            (Some(entry), Some(params)) if bad.is_empty() => {
                let (units, signing) = (profile.units, profile.signing);
                Ok(Plan { entry, request, wants_ttl, max_ttl, max_wait, params, units, signing })
            }
            _ => Err(Refusal::Invalid(bad)),
        }
    }
}
