//! Checks what a call asks for against what its profile can ever give.

use std::time::Duration;

use serde_json::Value as Json;

use super::{
    options::{Attainable, Field, Invalid, Violation},
    profile::{Profile, Supply},
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
    /// What of it can never be met.
    pub(super) fn check(&self, ask: &Ask, bad: &mut Vec<Violation>) {
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
        let longest = match &self.supply {
            Supply::Grants(grants) => ask.ttl.min(dependable_ttl(grants.grant_ttl)),
            Supply::Key(key) => ask.ttl.saturating_sub(key.spent()),
        };
        let attainable = longest.saturating_sub(self.margin);
        if ask.min_remaining > attainable {
            let more = "is more than any token of this profile has";
            let (field, invalid) = (Field::MinRemaining, Invalid::ValidityUnattainable);
            bad.push(Violation::new(field, invalid, more).but(Attainable::Max(attainable)));
        }
    }

    fn least_ttl(&self) -> Duration {
        let spent = match &self.supply {
            Supply::Grants(_) => Duration::ZERO,
            Supply::Key(key) => key.spent(),
        };
        least_ttl(self.margin, spent).max(self.min_token_ttl)
    }

    /// Whether a token can have the life asked for; else why not, and which it can have.
    fn check_ttl(&self, ask: &Ask) -> Result<(), (&'static str, Option<Attainable>)> {
        let max = |max| Some(Attainable::Max(max));
        match &self.supply {
            _ if ask.ttl < self.least_ttl() => {
                let short = "is under the shortest life that a token of the profile has";
                Err((short, Some(Attainable::Min(self.least_ttl()))))
            }
            _ if ask.ttl > self.max_token_ttl => {
                let long = "is over the longest life that a token of the profile has";
                Err((long, max(self.max_token_ttl)))
            }
            Supply::Grants(grants)
                if ask.policy == ExpiryPolicy::RequireFullTtl
                    && ask.ttl > dependable_ttl(grants.grant_ttl) =>
            {
                let long = "is more than any grant of this profile holds";
                Err((long, max(dependable_ttl(grants.grant_ttl))))
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
            (Supply::Grants(_), Some(Seat::Granted(granted))) => {
                let present = granted.reader.load();
                let present = present.as_ref().map_or(0, |it| it.grant.life().generation.get());
                Some(now.wall.unix_micros().max(present))
            }
            (Supply::Grants(_), _) => Some(now.wall.unix_micros()),
        };
        let tolerance = i64::try_from(GENERATION_TOLERANCE.as_micros()).unwrap_or(i64::MAX);
        let can_be =
            latest.is_some_and(|latest| (0..=latest.saturating_add(tolerance)).contains(&after));
        let never = "is no generation that a grant can have had";
        let violation = || Violation::new(Field::AfterGeneration, Invalid::Generation, never);
        if can_be { Ok(()) } else { Err(violation()) }
    }
}
