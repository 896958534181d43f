//! Checks a call's request against what its profile can ever provide.

use std::time::Duration;

use serde_json::Value as Json;

use super::{
    options::{Attainable, Field, Invalid, Options, Violation},
    profile::{self, Forwarded, Profile, Supply},
    resolve::ResourceEntry,
    terms::{ExpiryPolicy, TokenRequest, dependable_ttl, min_ttl},
};
use crate::{
    clock::Clock,
    token::params::{ParamError, Values},
};

/// How far in the future a generation may be: replicas' clocks differ.
const GENERATION_TOLERANCE: Duration = Duration::from_secs(60);

impl Profile {
    /// Refuses a call that sets the expiry of a forwarded grant.
    pub(super) fn check_own_expiry(&self, options: &Options<'_>, bad: &mut Vec<Violation>) {
        let Supply::Forwarded(_) = &self.supply else { return };
        if options.ttl.is_some() {
            let shared = "cannot be set: a shared credential expires with its grant";
            bad.push(Violation::new(Field::Ttl, Invalid::Option, shared));
        }
        if options.policy.is_some_and(|policy| policy != ExpiryPolicy::ClampToGrant) {
            let shared = "is not allowed: a shared credential expires with its grant";
            bad.push(Violation::new(Field::ExpiryPolicy, Invalid::PolicyNotAllowed, shared));
        }
    }

    /// Adds what can never be met; `entry` is none where the call's resource is malformed.
    pub(super) fn check(
        &self,
        request: &TokenRequest,
        entry: Option<&ResourceEntry>,
        bad: &mut Vec<Violation>,
    ) {
        if let Err((reason, attainable)) = self.check_ttl(request) {
            let violation = Violation::new(Field::Ttl, Invalid::TtlOutOfRange, reason);
            bad.push(Violation { attainable, ..violation });
        }
        if let Supply::Grants(grants) = &self.supply
            && request.policy == ExpiryPolicy::Independent
            && !grants.allow_independent
        {
            let denied = "is not allowed by the profile";
            bad.push(Violation::new(Field::ExpiryPolicy, Invalid::PolicyNotAllowed, denied));
        }
        let attainable = self.longest_life(request, entry).saturating_sub(self.margin);
        if request.min_remaining > attainable {
            let excess = "exceeds the longest validity of this profile's tokens";
            let (field, invalid) = (Field::MinRemaining, Invalid::ValidityUnattainable);
            bad.push(
                Violation::new(field, invalid, excess).with_attainable(Attainable::Max(attainable)),
            );
        }
    }

    /// The longest lifetime that a token can be relied on to have. Where only responses report the
    /// lifetime of grants, the last grant's is used.
    fn longest_life(&self, request: &TokenRequest, entry: Option<&ResourceEntry>) -> Duration {
        let reported = || match entry {
            Some(ResourceEntry::Granted(granted)) => {
                let current = granted.reader.load();
                current.as_ref().map(|current| current.grant.life().ttl)
            }
            _ => None,
        };
        match &self.supply {
            Supply::Grants(profile::Grants { grant_ttl, .. })
            | Supply::Forwarded(Forwarded { grant_ttl, .. }) => {
                let of_grants = grant_ttl.map(dependable_ttl).or_else(reported);
                of_grants.map_or(request.ttl, |of_grants| of_grants.min(request.ttl))
            }
            Supply::Key(key) => request.ttl.saturating_sub(key.spent()),
        }
    }

    fn min_ttl(&self) -> Duration {
        let spent = match &self.supply {
            Supply::Grants(_) | Supply::Forwarded(_) => Duration::ZERO,
            Supply::Key(key) => key.spent(),
        };
        min_ttl(self.margin, spent).max(self.min_token_ttl)
    }

    /// Checks the requested lifetime. An error has the reason and the nearest attainable value.
    fn check_ttl(&self, request: &TokenRequest) -> Result<(), (&'static str, Option<Attainable>)> {
        let max = |max| Some(Attainable::Max(max));
        match &self.supply {
            // The token expires with its grant.
            Supply::Forwarded(_) => Ok(()),
            _ if request.ttl < self.min_ttl() => {
                let short = "is below the minimum token lifetime of the profile";
                Err((short, Some(Attainable::Min(self.min_ttl()))))
            }
            _ if request.ttl > self.max_token_ttl => {
                let long = "exceeds the maximum token lifetime of the profile";
                Err((long, max(self.max_token_ttl)))
            }
            Supply::Grants(profile::Grants { grant_ttl: Some(grant_ttl), .. })
                if request.policy == ExpiryPolicy::RequireFullTtl
                    && request.ttl > dependable_ttl(*grant_ttl) =>
            {
                let long = "exceeds the lifetime of this profile's grants";
                Err((long, max(dependable_ttl(*grant_ttl))))
            }
            _ => Ok(()),
        }
    }

    /// The values of a call's parameters; none where one of them is invalid.
    pub(super) fn check_params(
        &self,
        given: &[(String, Json)],
        bad: &mut Vec<Violation>,
    ) -> Option<Values> {
        let errors = match self.parameters.for_call(given) {
            Ok(values) => return Some(values),
            Err(errors) => errors,
        };
        bad.extend(errors.into_iter().map(|(name, error)| {
            let invalid = match error {
                ParamError::NotAllowed => Invalid::ParamNotAllowed,
                ParamError::Required => Invalid::ParamRequired,
                ParamError::Unknown | ParamError::Malformed(_) => Invalid::Param,
            };
            Violation::new(Field::Param(name), invalid, error.message())
        }));
        None
    }

    /// Checks that a grant can have this generation; `entry` is none where the call's resource is
    /// malformed.
    pub(super) fn check_generation(
        &self,
        after: i64,
        entry: Option<&ResourceEntry>,
        clock: &Clock,
    ) -> Result<(), Violation> {
        if after == 0 {
            return Ok(());
        }
        let now = clock.now();
        let latest = match (&self.supply, entry) {
            (Supply::Key(_), _) => None,
            (Supply::Grants(_) | Supply::Forwarded(_), Some(ResourceEntry::Granted(granted))) => {
                let current = granted.reader.load();
                let current = current.as_ref().map_or(0, |it| it.grant.life().generation.get());
                Some(now.wall.unix_micros().max(current))
            }
            (Supply::Grants(_) | Supply::Forwarded(_), _) => Some(now.wall.unix_micros()),
        };
        let tolerance = i64::try_from(GENERATION_TOLERANCE.as_micros()).unwrap_or(i64::MAX);
        let possible =
            latest.is_some_and(|latest| (0..=latest.saturating_add(tolerance)).contains(&after));
        let never = "is not a generation that a grant can have";
        let violation = || Violation::new(Field::AfterGeneration, Invalid::Generation, never);
        if possible { Ok(()) } else { Err(violation()) }
    }
}
