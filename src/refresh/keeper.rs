//! The task that refreshes one grant: it performs what [`State`] decides.

use std::{panic::AssertUnwindSafe, sync::Arc};

use futures_util::FutureExt;
use tokio::sync::{Semaphore, watch};

use super::{
    lineage::{Change, Current, Lineage},
    state::{Attempt, State, Step},
};
use crate::{
    clock::Clock,
    grant::{
        Fault, FaultClass, Generation, Grant, GrantState, Life, RefreshState, Status,
        cell::{Prepare, Publication, Publisher},
        demand::{DemandReceiver, OrderOutcome},
        history::AttemptResult,
    },
    name::GrantName,
    source::{FetchError, FetchRequest, Fetched, GrantSource, Urgency},
    telemetry::{
        GrantMetrics, Metrics,
        trace::{Rate, Span, Tracer, within},
    },
};

/// The events that a keeper follows in addition to time and demand.
#[derive(Debug)]
pub struct Events {
    /// A clock jumped.
    pub jumps: watch::Receiver<()>,
    /// The key was replaced: tokens are signed and the upstream is called with the new one. A
    /// keeper adds a permit when it has prepared its grant again.
    pub rekeyed: watch::Receiver<Arc<Semaphore>>,
}

/// Refreshes one grant.
pub struct Keeper<P: Prepare> {
    source: Arc<dyn GrantSource>,
    publisher: Publisher<P>,
    demand: DemandReceiver,
    state: State,
    lineage: Lineage,
    clock: Clock,
    events: Events,
    metrics: GrantMetrics,
    tracer: Tracer,
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
        let metrics =
            metrics.grant(publisher.name(), AttemptResult::ALL.map(AttemptResult::as_str));
        let demand = publisher.demand();
        let lineage = Lineage::default();
        let tracer = Tracer::default();
        Self { source, publisher, demand, state, lineage, clock, events, metrics, tracer }
    }

    /// The same, with attempts traced.
    #[must_use]
    pub fn traced_by(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Refreshes the grant until the process exits. A panic loses one attempt, not the keeper.
    pub async fn run(mut self) {
        loop {
            self.report();
            if AssertUnwindSafe(self.turn()).catch_unwind().await.is_err() {
                tracing::error!(grant = %self.publisher.name(), "refresh panicked; resuming");
                self.attempted(AttemptResult::Panicked);
                self.state.abandoned(self.clock.now());
                self.report();
                self.demand.complete(OrderOutcome::Attempted);
            }
        }
    }

    async fn turn(&mut self) {
        let now = self.clock.now();
        match self.state.step(now) {
            Step::Attempt(attempt) => {
                let span = self.tracer.root(Rate::Sampled, "refresh");
                let context = span.as_ref().map(Span::context);
                within(context, self.attempt(attempt, span)).await;
            }
            Step::Wait(until) => {
                tokio::select! {
                    () = tokio::time::sleep(until.since(now.boot)) => {}
                    () = self.demand.requested() => self.state.demanded(self.clock.now()),
                    () = self.demand.ordered() => self.ordered(),
                    Ok(()) = self.events.jumps.changed() => self.state.jumped(self.clock.now()),
                    Ok(()) = self.events.rekeyed.changed() => self.rekeyed(),
                }
            }
        }
    }

    fn ordered(&mut self) {
        if let Err(until) = self.state.ordered(self.clock.now()) {
            self.demand.complete(OrderOutcome::Held(until));
        }
    }

    async fn attempt(&mut self, attempt: Attempt, span: Option<Span>) {
        self.report();
        let urgency = attempt.urgency;
        if urgency == Urgency::Ordered {
            tracing::info!(grant = %self.publisher.name(), "refresh requested by a caller");
        }
        let request = FetchRequest {
            resource: self.publisher.name().resource.clone(),
            urgency,
            give_up_at: attempt.give_up_at,
        };
        let outcome = self.fetch(request).await.and_then(|fetched| self.publish(fetched));
        let result = match &outcome {
            Ok(()) => AttemptResult::Ok,
            Err(FetchError::Failed { fault, .. } | FetchError::NothingNew(fault)) => {
                AttemptResult::Failed(fault.class)
            }
            Err(FetchError::Held { .. }) => AttemptResult::Held,
        };
        self.attempted(result);
        if let Some(span) = span {
            self.end_span(span, result, outcome.as_ref().err());
        }
        let ordered = match &outcome {
            // Nothing was sent, because the credential is refused. Orders that joined stay open: an
            // ordered attempt, which ignores the refusal, follows.
            Err(FetchError::Held { class: FaultClass::Credential, .. })
                if urgency != Urgency::Ordered =>
            {
                None
            }
            Err(FetchError::Held { class, until }) if *class != FaultClass::Credential => {
                Some(OrderOutcome::Held(*until))
            }
            _ => Some(OrderOutcome::Attempted),
        };
        let now = self.clock.now();
        match (outcome, self.publisher.life()) {
            (Ok(()), Some(life)) => {
                self.metrics.published(life.anchor.wall, life.end(now));
                self.state.succeeded(attempt, life, now);
                // Callers that need a newer grant still request it again after this publish.
                self.demand.forget();
            }
            (Ok(()), None) => self.state.abandoned(now),
            (Err(error), _) => self.state.failed(attempt, error, now),
        }
        // Before the orders are completed, so that their callers see the new state.
        self.report();
        match ordered {
            Some(outcome) => self.demand.complete(outcome),
            None => self.demand.keep_orders(),
        }
    }

    fn end_span(&self, mut span: Span, result: AttemptResult, error: Option<&FetchError>) {
        let GrantName { profile, resource } = self.publisher.name();
        span.set("grantmint.profile", profile.to_string());
        span.set_resource("grantmint.resource", resource);
        span.set("grantmint.refresh.result", result.as_str());
        match error {
            None => {}
            Some(FetchError::Failed { fault, .. } | FetchError::NothingNew(fault)) => {
                span.fail(fault.reason.to_string());
            }
            Some(FetchError::Held { .. }) => span.fail(AttemptResult::Held.as_str()),
        }
    }

    fn attempted(&mut self, result: AttemptResult) {
        self.metrics.attempted(result.as_str());
        self.publisher.record(result, self.clock.now().boot);
    }

    /// Fetches a grant. A key replaced meanwhile is no longer used to sign, however long the
    /// upstream takes.
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
            tracing::error!(%grant, %error, "tokens are still signed with the previous key");
        }
        self.state.rekeyed(self.clock.now());
        self.events.rekeyed.borrow_and_update().add_permits(1);
    }

    fn publish(&mut self, fetched: Fetched) -> Result<(), FetchError> {
        let (margin, now) = (self.publisher.margin(), self.clock.now());
        let anchor = fetched.anchor;
        // A grant that has expired on arrival is useless.
        let usable = |ttl| {
            let life = Life { anchor, ttl, generation: Generation::NONE };
            let too_short = Fault::new(FaultClass::Transient, "GRANT_LIFE_TOO_SHORT");
            if life.is_live(now, margin) { Ok(ttl) } else { Err(too_short) }
        };
        let current = self.publisher.life().map(|life| {
            let refused = self.demand.is_refused(life.generation);
            Current { life, refused }
        });
        let admitted = usable(fetched.granted.ttl())
            .and_then(|_| self.lineage.check(&fetched, current))
            .and_then(|admitted| usable(admitted.ttl).map(|_| admitted))
            .map_err(FetchError::NothingNew)?;
        // The same credential is the same grant, whatever its expiry: it does not satisfy a caller
        // whose player refused it.
        let generation = match admitted.change {
            Change::New => Generation::after(self.publisher.generation(), anchor.wall),
            Change::Extended | Change::Shortened => self.publisher.generation(),
        };
        let grant = Grant::new(fetched.content, anchor, admitted.ttl, generation);
        let life = grant.life();
        match self.publisher.publish(grant) {
            Publication::Published(_) => {
                self.lineage.commit(admitted);
                if admitted.change == Change::Shortened {
                    return Err(self.shortened(life));
                }
                Ok(())
            }
            Publication::Late if self.publisher.life().is_some_and(|l| l.is_live(now, margin)) => {
                Ok(())
            }
            Publication::Late => Err(Fault::new(FaultClass::Transient, "GRANT_LATE").into()),
            Publication::Unprepared(error) => {
                tracing::error!(grant = %self.publisher.name(), %error, "grant not published");
                Err(Fault::new(FaultClass::Transient, "TOKEN_UNVERIFIED").into())
            }
        }
    }

    /// The current grant expires sooner than known: the schedule follows, but the refresh failed.
    fn shortened(&mut self, life: Life) -> FetchError {
        let now = self.clock.now();
        tracing::warn!(
            grant = %self.publisher.name(),
            left_seconds = life.left(now).as_secs(),
            "upstream shortened the current grant"
        );
        self.metrics.published(life.anchor.wall, life.end(now));
        self.state.life_changed(life);
        FetchError::NothingNew(Fault::new(FaultClass::Transient, "GRANT_ENDS_SOONER"))
    }

    fn report(&mut self) {
        let now = self.clock.now();
        let status = self.state.status(now);
        self.log_change(&status, now);
        if let Some(at) = status.next_attempt {
            self.metrics.next_attempt(now.wall_at(at));
        }
        self.publisher.report(status);
    }

    /// Logs one line per change of state.
    fn log_change(&self, status: &Status, now: crate::clock::Anchor) {
        let before = self.publisher.status();
        let grant = self.publisher.name();
        let state = status.state(now, self.publisher.margin()).as_str();
        let fault = status.last_fault.as_ref().map(tracing::field::display);
        if before.refresh == status.refresh && before.life.is_some() == status.life.is_some() {
            // No warning while there is time: some upstreams renew only shortly before the expiry.
            if status.refresh == RefreshState::Ok && before.last_fault.is_none() && fault.is_some()
            {
                tracing::info!(%grant, fault, "upstream returned no newer grant; keeping the current one");
            }
            return;
        }
        match status.refresh {
            RefreshState::Ok if before.life.is_none() && before.consecutive_failures == 0 => {
                tracing::info!(%grant, "first grant received");
            }
            RefreshState::Ok => {
                let failures = before.consecutive_failures;
                tracing::info!(%grant, failures, "refresh recovered");
            }
            RefreshState::Retrying => {
                tracing::warn!(%grant, state, fault, "refresh failed; retrying");
            }
            RefreshState::Throttled => {
                tracing::warn!(%grant, state, fault, "upstream throttled the account; waiting");
            }
            RefreshState::Rejected
                if before.state(now, self.publisher.margin()) == GrantState::Live =>
            {
                tracing::error!(%grant, state, fault, "refresh rejected; fix it before the current grant expires");
            }
            RefreshState::Rejected => {
                tracing::error!(%grant, state, fault, "refresh rejected; operator action required");
            }
        }
    }
}

#[cfg(test)]
mod tests;
