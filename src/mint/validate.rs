//! Checks what a call asks for against what its profile can ever give.

use std::time::Duration;

use serde_json::Value as Json;

use super::{
    options::{Attainable, Field, Invalid, Options, Violation},
    profile::{self, Forwarded, Profile, Supply},
    resolve::Seat,
    terms::{Ask, ExpiryPolicy, dependable_ttl, least_ttl},
};
use crate::{
    clock::Clock,
    token::params::{ParamError, Values},
};

/// How far in the future a generation may lie: replicas' clocks differ.
const GENERATION_TOLERANCE: Duration = Duration::from_secs(60);

impl Profile {
    /// Whether the call wants another end than the grant's of a token that is the grant.
    pub(super) fn check_own_end(&self, options: &Options<'_>, bad: &mut Vec<Violation>) {
        let Supply::Forwarded(_) = &self.supply else { return };
        if options.ttl.is_some() {
            let shared = "cannot be chosen: a shared credential lives as long as its grant";
            bad.push(Violation::new(Field::Ttl, Invalid::Option, shared));
        }
        if options.policy.is_some_and(|policy| policy != ExpiryPolicy::ClampToGrant) {
            let shared = "is not allowed: a shared credential ends with its grant";
            bad.push(Violation::new(Field::ExpiryPolicy, Invalid::PolicyNotAllowed, shared));
        }
    }

    /// What of it can never be met; `seat` is none where the call's resource is bad.
    pub(super) fn check(&self, ask: &Ask, seat: Option<&Seat>, bad: &mut Vec<Violation>) {
        if let Err((why, attainable)) = self.check_ttl(ask) {
            let violation = Violation::new(Field::Ttl, Invalid::TtlOutOfRange, why);
            bad.push(Violation { attainable, ..violation });
        }
        if let Supply::Grants(grants) = &self.supply
            && ask.policy == ExpiryPolicy::Independent
            && !grants.allow_independent
        {
            let not = "is not allowed by the profile";
            bad.push(Violation::new(Field::ExpiryPolicy, Invalid::PolicyNotAllowed, not));
        }
        let attainable = self.longest_life(ask, seat).saturating_sub(self.margin);
        if ask.min_remaining > attainable {
            let more = "is more than any token of this profile has";
            let (field, invalid) = (Field::MinRemaining, Invalid::ValidityUnattainable);
            bad.push(Violation::new(field, invalid, more).but(Attainable::Max(attainable)));
        }
    }

    /// The longest life that a token can be relied on to have, as far as anybody knows: where
    /// only answers tell how long grants live, the last one is the measure.
    fn longest_life(&self, ask: &Ask, seat: Option<&Seat>) -> Duration {
        let told = || match seat {
            Some(Seat::Granted(granted)) => {
                let present = granted.reader.load();
                present.as_ref().map(|present| present.grant.life().ttl)
            }
            _ => None,
        };
        match &self.supply {
            Supply::Grants(profile::Grants { grant_ttl, .. })
            | Supply::Forwarded(Forwarded { grant_ttl, .. }) => {
                let of_grants = grant_ttl.map(dependable_ttl).or_else(told);
                of_grants.map_or(ask.ttl, |of_grants| of_grants.min(ask.ttl))
            }
            Supply::Key(key) => ask.ttl.saturating_sub(key.spent()),
        }
    }

    fn least_ttl(&self) -> Duration {
        let spent = match &self.supply {
            Supply::Grants(_) | Supply::Forwarded(_) => Duration::ZERO,
            Supply::Key(key) => key.spent(),
        };
        least_ttl(self.margin, spent).max(self.min_token_ttl)
    }

    /// Whether a token can have the life asked for; else why not, and which it can have.
    fn check_ttl(&self, ask: &Ask) -> Result<(), (&'static str, Option<Attainable>)> {
        let max = |max| Some(Attainable::Max(max));
        match &self.supply {
            // Its end is the grant's.
            Supply::Forwarded(_) => Ok(()),
            _ if ask.ttl < self.least_ttl() => {
                let short = "is under the shortest life that a token of the profile has";
                Err((short, Some(Attainable::Min(self.least_ttl()))))
            }
            _ if ask.ttl > self.max_token_ttl => {
                let long = "is over the longest life that a token of the profile has";
                Err((long, max(self.max_token_ttl)))
            }
            Supply::Grants(profile::Grants { grant_ttl: Some(grant_ttl), .. })
                if ask.policy == ExpiryPolicy::RequireFullTtl
                    && ask.ttl > dependable_ttl(*grant_ttl) =>
            {
                let long = "is more than any grant of this profile holds";
                Err((long, max(dependable_ttl(*grant_ttl))))
            }
            _ => Ok(()),
        }
    }

    /// The values of a call's parameters; none where one of them is bad.
    pub(super) fn check_params(
        &self,
        given: &[(String, Json)],
        bad: &mut Vec<Violation>,
    ) -> Option<Values> {
        let wrong = match self.parameters.of_call(given) {
            Ok(values) => return Some(values),
            Err(wrong) => wrong,
        };
        bad.extend(wrong.into_iter().map(|(name, error)| {
            let invalid = match error {
                ParamError::NotAllowed => Invalid::ParamNotAllowed,
                ParamError::Required => Invalid::ParamRequired,
                ParamError::Unknown | ParamError::Misshapen(_) => Invalid::Param,
            };
            Violation::new(Field::Param(name), invalid, error.words())
        }));
        None
    }

    /// Whether there can be a grant of this generation; `seat` is none where the call's resource
    /// is bad.
    pub(super) fn check_generation(
        &self,
        after: i64,
        seat: Option<&Seat>,
        clock: &Clock,
    ) -> Result<(), Violation> {
        if after == 0 {
            return Ok(());
        }
        let now = clock.now();
        let latest = match (&self.supply, seat) {
            (Supply::Key(_), _) => None,
            (Supply::Grants(_) | Supply::Forwarded(_), Some(Seat::Granted(granted))) => {
                let present = granted.reader.load();
                let present = present.as_ref().map_or(0, |it| it.grant.life().generation.get());
                Some(now.wall.unix_micros().max(present))
            }
            (Supply::Grants(_) | Supply::Forwarded(_), _) => Some(now.wall.unix_micros()),
        };
        let tolerance = i64::try_from(GENERATION_TOLERANCE.as_micros()).unwrap_or(i64::MAX);
        let can_be =
            latest.is_some_and(|latest| (0..=latest.saturating_add(tolerance)).contains(&after));
        let never = "is no generation that a grant can have had";
        let violation = || Violation::new(Field::AfterGeneration, Invalid::Generation, never);
        if can_be { Ok(()) } else { Err(violation()) }
    }
}
