//! Finds a usable grant for a call, at once or after a wait.

use std::{sync::Arc, time::Duration};

use arc_swap::Guard;
use tokio::time::{Instant, sleep_until};

use super::{
    minter::{Cause, Minter, Unserved},
    plan::Plan,
    profile::{Profile, Supply},
    resolve::{Granted, ResourceEntry},
    terms::{Shortfall, Terms},
    wait::WaitLimit,
};
use crate::{
    clock::Anchor,
    drain::Phase,
    grant::{RefreshState, cell::Published},
    name::ProfileName,
    telemetry::trace::{self, Kind, Span},
    token::{CallSigner, KeySigner, SharedTokens, SignError, Signer},
};

/// What a token can be made with, and the token's validity.
pub(super) struct Candidate {
    with: With,
    pub(super) terms: Terms,
}

/// What a token can be made with.
enum With {
    Grant(Arc<Published<Box<dyn Signer>>>),
    Key(Arc<KeySigner>),
}

impl Candidate {
    /// The tokens that callers share; none for tokens made with a grant.
    pub(super) fn shared(&self) -> Option<&SharedTokens> {
        match &self.with {
            With::Grant(_) => None,
            With::Key(key) => Some(&key.shared),
        }
    }

    /// The signer of the call's tokens with these times.
    pub(super) fn call_signer(&self, plan: &Plan) -> Result<Arc<dyn CallSigner>, SignError> {
        let (times, call) = (self.terms.times(), plan.call());
        match &self.with {
            With::Grant(published) => published.ready.at(times, &call),
            With::Key(key) => key.signer.at(times, &call),
        }
    }
}

impl Minter {
    /// Finds what the call's tokens can be made with, at once or after a wait.
    pub(super) async fn candidate(
        &self,
        plan: &Plan,
        wait: &mut WaitLimit<'_>,
    ) -> Result<Candidate, Unserved> {
        let granted = match &plan.entry {
            ResourceEntry::Granted(granted) => granted,
            ResourceEntry::Keyed(profile, _) => return self.key_candidate(plan, profile),
        };
        let candidate = if let Ok(candidate) = self.try_candidate(plan, granted) {
            candidate
        } else {
            let span = trace::child("wait for grant", Kind::Internal);
            let waited = self.wait_for_candidate(plan, granted, wait).await;
            if let Some(span) = span {
                end_wait(span, &granted.profile.name, waited.as_ref().err());
            }
            waited?
        };
        // All other tokens have the requested lifetime, or one clamped to the limit.
        match plan.max_ttl {
            Some(max)
                if granted.profile.forwards_its_grant()
                    && candidate.terms.use_within + granted.profile.margin > max =>
            {
                Err(Unserved { cause: Cause::LivesTooLong(max), retry_in: Duration::ZERO })
            }
            _ => Ok(candidate),
        }
    }

    /// Loads the grant once and reads the clocks once.
    fn try_candidate(&self, plan: &Plan, granted: &Granted) -> Result<Candidate, Shortfall> {
        let published = Guard::into_inner(granted.reader.load()).ok_or(Shortfall::Pending)?;
        let life = published.grant.life();
        let terms = plan.request.terms(life, granted.profile.margin, self.clock.now())?;
        Ok(Candidate { with: With::Grant(published), terms })
    }

    fn key_candidate(&self, plan: &Plan, profile: &Profile) -> Result<Candidate, Unserved> {
        let Supply::Key(key) = &profile.supply else { return Err(SignError.into()) };
        let terms = key.terms(plan.request.ttl, profile.margin, self.clock.now());
        Ok(Candidate { with: With::Key(key.signer.load()), terms })
    }

    async fn wait_for_candidate(
        &self,
        plan: &Plan,
        granted: &Granted,
        wait: &mut WaitLimit<'_>,
    ) -> Result<Candidate, Unserved> {
        // Subscribe before the first check, so that no change is missed.
        let mut changes = granted.reader.view().changes();
        let give_up = wait.until();
        let permit = self.waiting.try_acquire();
        let caller_permit = wait.quota.wait_for_grant();
        let unserved = |shortfall| unserved(granted, shortfall, self.clock.now());
        loop {
            let shortfall = match self.try_candidate(plan, granted) {
                Ok(candidate) => return Ok(candidate),
                Err(shortfall) => shortfall,
            };
            // On every round: a failed attempt consumes the demand made before it.
            granted.reader.demand(plan.request.after);
            if self.drain.reached(Phase::Draining) {
                return Err(Self::draining());
            }
            let unserved_now = unserved(shortfall);
            if permit.is_err()
                || caller_permit.is_none()
                || Instant::now() + unserved_now.retry_in > give_up
            {
                return Err(unserved_now);
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = self.drain.wait(Phase::Draining) => {}
                () = sleep_until(give_up) => {
                    return self.try_candidate(plan, granted).map_err(unserved);
                }
            }
        }
    }

    /// The failure of a call while the server drains: another replica serves it at once.
    pub(super) const fn draining() -> Unserved {
        Unserved { cause: Cause::Draining, retry_in: Duration::ZERO }
    }
}

fn end_wait(mut span: Span, profile: &ProfileName, unserved: Option<&Unserved>) {
    span.set("grantmint.profile", profile.to_string());
    if let Some(Unserved { cause, .. }) = unserved {
        span.fail(match cause {
            Cause::ResourceNotFound => "resource_not_found",
            Cause::UpstreamRejected => "upstream_rejected",
            Cause::UpstreamThrottled => "upstream_throttled",
            Cause::GrantExpired(_) => "grant_expired",
            Cause::GrantPending => "grant_pending",
            Cause::GrantNotNewer => "grant_not_newer",
            Cause::GrantTooShort => "grant_too_short",
            Cause::Draining => "draining",
            _ => "_OTHER",
        });
    }
}

/// The first cause that applies, even while the grant is live but cannot serve the call.
fn unserved(granted: &Granted, shortfall: Shortfall, now: Anchor) -> Unserved {
    granted.reader.view().with_status(|status| {
        let cause = match (status.refresh, shortfall) {
            (RefreshState::Rejected, _) if status.not_found() => Cause::ResourceNotFound,
            (RefreshState::Rejected, _) => Cause::UpstreamRejected,
            (RefreshState::Throttled, _) => Cause::UpstreamThrottled,
            (_, Shortfall::Expired(end)) => Cause::GrantExpired(end),
            (_, Shortfall::Pending) => Cause::GrantPending,
            (_, Shortfall::NotNewer) => Cause::GrantNotNewer,
            (_, Shortfall::TooShort) => Cause::GrantTooShort,
        };
        let next = status.next_if_demanded.unwrap_or(now.boot);
        let starts = if status.attempting { next } else { next.max(now.boot) };
        let retry_in = (starts + status.usual_latency).since(now.boot);
        Unserved { cause, retry_in }
    })
}
