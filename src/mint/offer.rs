//! Finds a grant that will do for a call, at once or after waiting for it.

use std::{sync::Arc, time::Duration};

use arc_swap::Guard;
use tokio::time::{Instant, sleep_until};

use super::{
    hold::Hold,
    minter::{Cause, Minter, Plan, Unserved},
    profile::{Profile, Supply},
    resolve::{Granted, Seat},
    terms::{Lack, Terms},
};
use crate::{
    clock::Anchor,
    drain::Phase,
    grant::{RefreshState, cell::Published},
    token::{KeySigner, SharedTokens, SignError, Signer, Stamped},
};

/// What a token can be made with, and what it would be good for.
pub(super) struct Offer {
    with: With,
    pub(super) terms: Terms,
}

/// What a token can be made with.
enum With {
    Grant(Arc<Published<Box<dyn Signer>>>),
    Key(Arc<KeySigner>),
}

impl Offer {
    /// The tokens that callers share; none of a grant's.
    pub(super) fn shared(&self) -> Option<&SharedTokens> {
        match &self.with {
            With::Grant(_) => None,
            With::Key(key) => Some(&key.shared),
        }
    }

    /// What signs tokens of these terms for the call.
    pub(super) fn stamped(&self, plan: &Plan) -> Result<Arc<dyn Stamped>, SignError> {
        let (times, call) = (self.terms.times(), plan.call());
        match &self.with {
            With::Grant(published) => published.ready.at(times, &call),
            With::Key(key) => key.signer.at(times, &call),
        }
    }
}

impl Minter {
    /// What will do, at once or after waiting for it.
    pub(super) async fn offer(&self, plan: &Plan, hold: &mut Hold<'_>) -> Result<Offer, Unserved> {
        let granted = match &plan.seat {
            Seat::Granted(granted) => granted,
            Seat::Keyed(profile, _) => return self.offer_of_key(plan, profile),
        };
        let offer = match self.try_offer(plan, granted) {
            Ok(offer) => offer,
            Err(_) => self.wait_for_offer(plan, granted, hold).await?,
        };
        // The life of all other tokens is what the call asked for, or was cut to.
        match plan.max_ttl {
            Some(max)
                if granted.profile.hands_its_grant_on()
                    && offer.terms.use_within + granted.profile.margin > max =>
            {
                Err(Unserved { cause: Cause::LivesTooLong(max), retry_in: Duration::ZERO })
            }
            _ => Ok(offer),
        }
    }

    /// One load of the grant, one reading of the clocks.
    fn try_offer(&self, plan: &Plan, granted: &Granted) -> Result<Offer, Lack> {
        let published = Guard::into_inner(granted.reader.load()).ok_or(Lack::Pending)?;
        let life = published.grant.life();
        let terms = plan.ask.terms(life, granted.profile.margin, self.clock.now())?;
        Ok(Offer { with: With::Grant(published), terms })
    }

    fn offer_of_key(&self, plan: &Plan, profile: &Profile) -> Result<Offer, Unserved> {
        let Supply::Key(key) = &profile.supply else { return Err(SignError.into()) };
        let terms = plan.ask.terms_of_key(key, profile.margin, self.clock.now());
        Ok(Offer { with: With::Key(key.signer.load()), terms })
    }

    async fn wait_for_offer(
        &self,
        plan: &Plan,
        granted: &Granted,
        hold: &mut Hold<'_>,
    ) -> Result<Offer, Unserved> {
        // Before the look, so that no change is missed.
        let mut changes = granted.reader.view().changes();
        let give_up = hold.until();
        let place = self.waiting.try_acquire();
        let own_place = hold.quota.wait_for_grant();
        let unserved = |lack| unserved(granted, lack, self.clock.now());
        loop {
            let lack = match self.try_offer(plan, granted) {
                Ok(offer) => return Ok(offer),
                Err(lack) => lack,
            };
            // Each time: an attempt that failed has used up what was asked before it.
            granted.reader.demand(plan.ask.after);
            if self.drain.reached(Phase::Draining) {
                return Err(Self::draining());
            }
            let unserved_now = unserved(lack);
            if place.is_err()
                || own_place.is_none()
                || Instant::now() + unserved_now.retry_in > give_up
            {
                return Err(unserved_now);
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = self.drain.wait(Phase::Draining) => {}
                () = sleep_until(give_up) => {
                    return self.try_offer(plan, granted).map_err(unserved);
                }
            }
        }
    }

    /// What a call gets when the server goes away: another one serves it at once.
    pub(super) const fn draining() -> Unserved {
        Unserved { cause: Cause::Draining, retry_in: Duration::ZERO }
    }
}

/// The first cause that applies, also beside a live grant that does not serve.
fn unserved(granted: &Granted, lack: Lack, now: Anchor) -> Unserved {
    granted.reader.view().with_status(|status| {
        let cause = match (status.refresh, lack) {
            (RefreshState::Rejected, _) if status.not_found() => Cause::ResourceNotFound,
            (RefreshState::Rejected, _) => Cause::UpstreamRejected,
            (RefreshState::Throttled, _) => Cause::UpstreamThrottled,
            (_, Lack::Expired(end)) => Cause::GrantExpired(end),
            (_, Lack::Pending) => Cause::GrantPending,
            (_, Lack::NotNewer) => Cause::GrantNotNewer,
            (_, Lack::TooShort) => Cause::GrantTooShort,
        };
        let told = status.next_if_demanded.unwrap_or(now.boot);
        let starts = if status.attempting { told } else { told.max(now.boot) };
        let retry_in = (starts + status.usual_latency).since(now.boot);
        Unserved { cause, retry_in }
    })
}
