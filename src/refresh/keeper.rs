//! The task that keeps one grant fresh: it performs what [`State`] decides.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use tokio::sync::{Semaphore, watch};

use super::{
    lineage::{Lineage, News, Present},
    state::{Attempt, State, Step},
};
use crate::{
    clock::Clock,
    grant::{
        Fault, FaultClass, Generation, Grant, GrantState, Life, RefreshState, Status,
        cell::{Prepare, Publication, Publisher},
        demand::{Demanded, Ordered},
    },
    source::{FetchError, FetchRequest, Fetched, GrantSource, Urgency},
    telemetry::{GrantMetrics, Metrics},
};

/// The account's budget held it: nothing was sent, or it failed while the account is held.
const HELD: &str = "held";

/// A bug of ours ended it.
const PANICKED: &str = "panicked";

/// What an attempt can end with, as it is counted.
fn results() -> impl Iterator<Item = &'static str> {
    ["ok", HELD, PANICKED].into_iter().chain(FaultClass::ALL.map(FaultClass::as_str))
}

/// What a keeper heeds beside time and demand.
#[derive(Debug)]
pub struct Events {
    /// A clock jumped.
    pub jumps: watch::Receiver<()>,
    /// The key was replaced: what tokens are signed with, and what the upstream is asked with.
    /// A keeper that has prepared its grant again adds a permit.
    pub rekeyed: watch::Receiver<Arc<Semaphore>>,
}

/// Keeps one grant fresh.
pub struct Keeper<P: Prepare> {
    source: Arc<dyn GrantSource>,
    publisher: Publisher<P>,
    demanded: Demanded,
    state: State,
    lineage: Lineage,
    clock: Clock,
    events: Events,
    metrics: GrantMetrics,
}

impl<P: Prepare<Error: std::fmt::Display>> Keeper<P> {
    /// A keeper that fetches from `source` as `state` decides and publishes to `publisher`.
    pub fn new(
        source: Arc<dyn GrantSource>,
        publisher: Publisher<P>,
        state: State,
        clock: Clock,
        events: Events,
        metrics: &Metrics,
    ) -> Self {
        let metrics = metrics.grant(publisher.name(), results());
        let demanded = publisher.demanded();
        let lineage = Lineage::default();
        Self { source, publisher, demanded, state, lineage, clock, events, metrics }
    }

    /// Keeps the grant fresh until the process ends. A panic costs one attempt, not the keeper.
    pub async fn run(mut self) {
        loop {
            self.tell();
            if AssertUnwindSafe(self.turn()).catch_unwind().await.is_err() {
                tracing::error!(grant = %self.publisher.name(), "the refresh panicked and resumes");
                self.metrics.attempted(PANICKED);
                self.state.abandoned(self.clock.now());
                self.tell();
                self.demanded.answer(Ordered::Attempted);
            }
        }
    }

    async fn turn(&mut self) {
        let now = self.clock.now();
        match self.state.step(now) {
            Step::Attempt(attempt) => self.attempt(attempt).await,
            Step::Wait(until) => {
                tokio::select! {
                    () = tokio::time::sleep(until.since(now.boot)) => {}
                    () = self.demanded.asked() => self.state.demanded(self.clock.now()),
                    () = self.demanded.ordered() => self.ordered(),
                    Ok(()) = self.events.jumps.changed() => self.state.jumped(self.clock.now()),
                    Ok(()) = self.events.rekeyed.changed() => self.rekeyed(),
                }
            }
        }
    }

    fn ordered(&mut self) {
        if let Err(until) = self.state.ordered(self.clock.now()) {
            self.demanded.answer(Ordered::Held(until));
        }
    }

    async fn attempt(&mut self, attempt: Attempt) {
        self.tell();
        let urgency = attempt.urgency;
        if urgency == Urgency::Ordered {
            tracing::info!(grant = %self.publisher.name(), "a caller requested a refresh");
        }
        let request = FetchRequest {
            resource: self.publisher.name().resource.clone(),
            urgency,
            give_up_at: attempt.give_up_at,
        };
        let outcome = self.fetch(request).await.and_then(|fetched| self.publish(fetched));
        self.metrics.attempted(match &outcome {
            Ok(()) => "ok",
            Err(FetchError::Failed { fault, .. } | FetchError::NothingNew(fault)) => {
                fault.class.as_str()
            }
            Err(FetchError::Held { .. }) => HELD,
        });
        let ordered = match &outcome {
            // Nothing was sent since the credential is refused. An order that joined is not
            // answered by that: an ordered attempt, which ignores the refusal, follows.
            Err(FetchError::Held { class: FaultClass::Credential, .. })
                if urgency != Urgency::Ordered =>
            {
                None
            }
            Err(FetchError::Held { class, until }) if *class != FaultClass::Credential => {
                Some(Ordered::Held(*until))
            }
            _ => Some(Ordered::Attempted),
        };
        let now = self.clock.now();
        match (outcome, self.publisher.life()) {
            (Ok(()), Some(present)) => {
                self.metrics.fresh(present.anchor.wall, present.end(now));
                self.state.succeeded(attempt, present, now);
                // Who asked for this one has it; who needs more asks again when told.
                self.demanded.forget();
            }
            (Ok(()), None) => self.state.abandoned(now),
            (Err(error), _) => self.state.failed(attempt, error, now),
        }
        // Before the answer, so that whoever waits for it sees the new state.
        self.tell();
        match ordered {
            Some(answer) => self.demanded.answer(answer),
            None => self.demanded.keep_orders(),
        }
    }

    /// A key that is replaced meanwhile is no longer signed with, however long the upstream
    /// takes.
    async fn fetch(&mut self, request: FetchRequest) -> Result<Fetched, FetchError> {
        let source = Arc::clone(&self.source);
        let mut fetch = source.fetch(request);
        loop {
            tokio::select! {
                fetched = &mut fetch => return fetched,
                Ok(()) = self.events.rekeyed.changed() => self.rekeyed(),
            }
        }
    }

    fn rekeyed(&mut self) {
        if let Err(error) = self.publisher.prepare_again() {
            let grant = self.publisher.name();
            tracing::error!(%grant, %error, "tokens are still signed with the former key");
        }
        self.state.rekeyed(self.clock.now());
        self.events.rekeyed.borrow_and_update().add_permits(1);
    }

    fn publish(&mut self, fetched: Fetched) -> Result<(), FetchError> {
        let (margin, now) = (self.publisher.margin(), self.clock.now());
        let anchor = fetched.anchor;
        // One that has expired on arrival serves nobody.
        let usable = |ttl| {
            let life = Life { anchor, ttl, generation: Generation::NONE };
            let too_short = Fault::new(FaultClass::Transient, "GRANT_LIFE_TOO_SHORT");
            if life.is_live(now, margin) { Ok(ttl) } else { Err(too_short) }
        };
        let present = self.publisher.life().map(|life| {
            let refused = self.demanded.is_refused(life.generation);
            Present { life, refused }
        });
        let admitted = usable(fetched.granted.ttl())
            .and_then(|_| self.lineage.judge(&fetched, present))
            .and_then(|admitted| usable(admitted.ttl).map(|_| admitted))
            .map_err(FetchError::NothingNew)?;
        // The same credential is the same grant, whatever its end: who wants a newer one, since
        // a player refused this, is not served by it.
        let generation = match admitted.news {
            News::Another => Generation::after(self.publisher.generation(), anchor.wall),
            News::Extended | News::Shortened => self.publisher.generation(),
        };
        let grant = Grant::new(fetched.content, anchor, admitted.ttl, generation);
        let life = grant.life();
        match self.publisher.publish(grant) {
            Publication::Published(_) => {
                self.lineage.commit(admitted);
                if admitted.news == News::Shortened {
                    return Err(self.shortened(life));
                }
                Ok(())
            }
            Publication::Late if self.publisher.life().is_some_and(|l| l.is_live(now, margin)) => {
                Ok(())
            }
            Publication::Late => Err(Fault::new(FaultClass::Transient, "GRANT_LATE").into()),
            Publication::Unprepared(error) => {
                tracing::error!(grant = %self.publisher.name(), %error, "a grant was not published");
                Err(Fault::new(FaultClass::Transient, "TOKEN_UNVERIFIED").into())
            }
        }
    }

    /// The present grant ends sooner than was known: a truth to plan by, but no successor.
    fn shortened(&mut self, life: Life) -> FetchError {
        let now = self.clock.now();
        tracing::warn!(
            grant = %self.publisher.name(),
            left_seconds = life.left(now).as_secs(),
            "the upstream says that the present grant ends sooner than it said before"
        );
        self.metrics.fresh(life.anchor.wall, life.end(now));
        self.state.moved(life);
        FetchError::NothingNew(Fault::new(FaultClass::Transient, "GRANT_ENDS_SOONER"))
    }

    fn tell(&mut self) {
        let now = self.clock.now();
        let status = self.state.status(now);
        self.log_change(&status, now);
        if let Some(at) = status.next_attempt {
            self.metrics.next_attempt(now.wall_at(at));
        }
        self.publisher.tell(status);
    }

    /// One loud line per change of state.
    fn log_change(&self, status: &Status, now: crate::clock::Anchor) {
        let before = self.publisher.status();
        let grant = self.publisher.name();
        let state = status.state(now, self.publisher.margin()).as_str();
        let fault = status.last_fault.as_ref().map(tracing::field::display);
        if before.refresh == status.refresh && before.life.is_some() == status.life.is_some() {
            // Not a warning while there is time: some upstreams renew only shortly before the end.
            if status.refresh == RefreshState::Ok && before.last_fault.is_none() && fault.is_some()
            {
                tracing::info!(%grant, fault, "the upstream returned nothing better; the present grant stays");
            }
            return;
        }
        match status.refresh {
            RefreshState::Ok if before.life.is_none() && before.consecutive_failures == 0 => {
                tracing::info!(%grant, "the first grant is here");
            }
            RefreshState::Ok => {
                let failures = before.consecutive_failures;
                tracing::info!(%grant, failures, "the refresh works again");
            }
            RefreshState::Retrying => {
                tracing::warn!(%grant, state, fault, "a refresh failed; it is retried");
            }
            RefreshState::Throttled => {
                tracing::warn!(%grant, state, fault, "the upstream asks the account to wait");
            }
            RefreshState::Rejected
                if before.state(now, self.publisher.margin()) == GrantState::Live =>
            {
                tracing::error!(%grant, state, fault, "the upstream refuses; fix it before the present grant ends");
            }
            RefreshState::Rejected => {
                tracing::error!(%grant, state, fault, "the upstream refuses; a person must act");
            }
        }
    }
}

#[cfg(test)]
mod tests;
