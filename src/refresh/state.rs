//! Decides what one grant's refresh does next: a state machine without I/O, clock or randomness
//! of its own.
//!
//! It takes events with their times and returns the next step. An [`Attempt`] must be used: each
//! is passed to [`State::succeeded`] or [`State::failed`].

mod phase;

use std::time::Duration;

use fastrand::Rng;

use self::phase::{Current, Ended, Health, Phase};
use super::schedule::Policy;
use crate::{
    clock::{Anchor, BootTime},
    grant::{Fault, FaultClass, Life, RefreshState, Status},
    source::{
        FetchError, Urgency,
        backoff::{MAX_BACKOFF, MAX_RETRY_AFTER, PROBE_INTERVAL, next_pause},
    },
};

/// The shortest time between the end of an attempt and the start of the next.
const FLOOR: Duration = Duration::from_millis(250);

/// Resources held until the same instant start within this time after it, not all at once.
const SPREAD: Duration = Duration::from_millis(500);

/// The longest pause without a live grant and without demand.
const IDLE_BACKOFF: Duration = Duration::from_secs(30);

/// Demand refreshes a live grant at most once in this share of its life, given as a divisor.
const DEMAND_SHARE: u32 = 60;

/// The shortest time between refreshes on demand.
const MIN_DEMAND_INTERVAL: Duration = Duration::from_secs(5);

/// The longest time between refreshes on demand, so that a caller that needs more of a long life
/// does not wait for minutes.
const MAX_DEMAND_INTERVAL: Duration = Duration::from_secs(60);

/// The shortest time between ordered attempts.
const ORDER_INTERVAL: Duration = Duration::from_secs(5);

/// A successor is late in this last share of a grant's life, given as a divisor.
const LATE_SHARE: u32 = 8;

/// An attempt to make now.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "no attempt follows one that is not completed"]
pub struct Attempt {
    /// Its priority.
    pub urgency: Urgency,
    /// When it started.
    pub started: BootTime,
    /// The attempt waits for the budget until this instant.
    pub give_up_at: BootTime,
}

impl Attempt {
    /// Consumes the attempt, and returns its priority and start.
    fn complete(self) -> (Urgency, BootTime) {
        (self.urgency, self.started)
    }
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Wait until this instant.
    Wait(BootTime),
    /// Make this attempt.
    Attempt(Attempt),
}

/// One grant's refresh.
#[derive(Debug)]
pub struct State {
    policy: Policy,
    rng: Rng,
    phase: Phase,
    current: Option<Current>,
    health: Health,
    /// Demand starts no attempt before this instant: the upstream requested a wait, or refused.
    /// It is not part of a phase, since it outlasts an attempt that the account's budget did not
    /// admit.
    quiet_until: Option<BootTime>,
    last_attempt: Option<Ended>,
    /// When the last attempt was ordered that the account's budget admitted.
    last_ordered: Option<BootTime>,
    /// The mean duration of recent successful attempts.
    latency: Option<Duration>,
}

impl State {
    /// A refresh without a grant; its first attempt is due now.
    #[must_use]
    pub fn new(policy: Policy, rng: Rng, now: Anchor) -> Self {
        Self {
            policy,
            rng,
            phase: Phase::Planned { due: now.boot },
            current: None,
            health: Health::GOOD,
            quiet_until: None,
            last_attempt: None,
            last_ordered: None,
            latency: None,
        }
    }

    /// What to do at `now`.
    pub fn step(&mut self, now: Anchor) -> Step {
        let due = self.phase.due();
        if self.phase.is_attempting() || now.boot < due {
            return Step::Wait(due);
        }
        let urgency = self.urgency(now);
        if let Some(current) = &mut self.current {
            current.last_try_spent |= urgency == Urgency::LastTry;
        }
        self.phase = Phase::Attempting { started: now.boot, demanded: false };
        Step::Attempt(Attempt {
            urgency,
            started: now.boot,
            give_up_at: now.boot + self.policy.attempt,
        })
    }

    /// The attempt fetched the grant that is now the current one, or a newer one was already
    /// published. `life` is that of the current grant.
    pub fn succeeded(&mut self, attempt: Attempt, life: Life, now: Anchor) {
        let (_, started) = attempt.complete();
        let took = now.boot.since(started);
        self.latency = Some(self.latency.map_or(took, |mean| (mean * 3 + took) / 4));
        let draw = self.rng.f64();
        let point = if self.current.is_none() {
            self.policy.first_point(life.ttl, draw)
        } else {
            self.policy.drawn_point(life.ttl, draw)
        };
        self.ended(now);
        self.current = Some(Current { life, last_try_spent: false });
        self.health = Health::GOOD;
        self.quiet_until = None;
        self.plan(life.anchor.boot + point);
    }

    /// The attempt fetched no grant.
    pub fn failed(&mut self, attempt: Attempt, error: FetchError, now: Anchor) {
        let (urgency, _) = attempt.complete();
        self.ended(now);
        match error {
            FetchError::Held { class, until } => {
                if urgency == Urgency::Ordered {
                    self.last_ordered = None;
                }
                self.held(class, until, now);
            }
            FetchError::Failed { fault, retry_after } => {
                self.health.count_failure();
                self.faulted(fault, retry_after, now);
            }
            FetchError::NothingNew(fault) => self.nothing_new(fault, now),
        }
    }

    /// The running attempt reported a different life of the current grant, and no successor.
    pub fn life_changed(&mut self, life: Life) {
        let last_try_spent = self.current.is_some_and(|current| current.last_try_spent);
        self.current = Some(Current { life, last_try_spent });
    }

    /// The running attempt was lost in a panic.
    pub fn abandoned(&mut self, now: Anchor) {
        if self.phase.is_attempting() {
            self.ended(now);
            self.health.count_failure();
            self.faulted(Fault::new(FaultClass::Transient, "ATTEMPT_PANICKED"), None, now);
        }
    }

    /// The current grant does not satisfy a caller.
    pub fn demanded(&mut self, now: Anchor) {
        match &mut self.phase {
            Phase::Attempting { demanded, .. } => *demanded = true,
            Phase::Planned { .. } => self.move_to(self.due_if_demanded(now)),
            Phase::Busy { .. } | Phase::Ordered { .. } => {}
        }
    }

    /// A caller orders an attempt now. A running attempt counts as the ordered one.
    ///
    /// # Errors
    ///
    /// No attempt may start before the instant returned.
    pub fn ordered(&mut self, now: Anchor) -> Result<(), BootTime> {
        if matches!(self.phase, Phase::Attempting { .. } | Phase::Ordered { .. }) {
            return Ok(());
        }
        let is_throttled = self.health.refresh == RefreshState::Throttled;
        let throttled = self.quiet_until.filter(|_| is_throttled);
        let spaced = self.last_ordered.map(|last| last + ORDER_INTERVAL);
        if let Some(until) = throttled.max(spaced).filter(|until| *until > now.boot) {
            return Err(until);
        }
        self.last_ordered = Some(now.boot);
        self.phase = Phase::Ordered { due: self.after_floor(now.boot) };
        Ok(())
    }

    /// A clock jumped: an expired grant is replaced at once, one that now expires sooner is
    /// refreshed sooner. A requested wait still applies, and a pending order is not delayed.
    pub fn jumped(&mut self, now: Anchor) {
        if self.current.is_none() || matches!(self.phase, Phase::Ordered { .. }) {
            return;
        }
        self.move_to(match self.quiet_until {
            Some(until) if until > now.boot => self.due_in_quiet(until, now),
            _ => {
                let latest = self.end_of_life(now) - self.policy.three_attempts();
                self.phase.due().min(latest.max(now.boot))
            }
        });
    }

    /// The credential was replaced: a refusal of the previous one no longer matters.
    pub fn rekeyed(&mut self, now: Anchor) {
        let refused = |fault: &Fault| fault.class == FaultClass::Credential;
        if self.phase.is_attempting() || !self.health.last_fault.as_ref().is_some_and(refused) {
            return;
        }
        self.health.refusals = 0;
        self.quiet_until = None;
        self.move_to(now.boot);
    }

    /// The state of the refresh.
    #[must_use]
    pub fn status(&self, now: Anchor) -> Status {
        let unknown = Status::unknown();
        Status {
            life: self.current.map(|current| current.life),
            refresh: self.health.refresh,
            next_attempt: Some(self.phase.due()),
            next_if_demanded: Some(self.due_if_demanded(now)),
            attempting: self.phase.is_attempting(),
            usual_latency: self.latency.unwrap_or(unknown.usual_latency),
            last_fault: self.health.last_fault.clone(),
            consecutive_failures: self.health.failures,
        }
    }

    fn faulted(&mut self, fault: Fault, retry_after: Option<Duration>, now: Anchor) {
        let wait_until = retry_after.map(|wait| now.boot + wait.min(MAX_RETRY_AFTER));
        let class = fault.class;
        if class.recovers() && self.refused_itself() {
            // The probe failed for another reason, which does not lift the refusal.
            let probe = now.boot + PROBE_INTERVAL;
            return self.quiet(wait_until.map_or(probe, |until| until.max(probe)), now);
        }
        self.health.last_fault = Some(fault);
        match (class, wait_until) {
            (FaultClass::Transient, _) => self.retry(RefreshState::Retrying, now),
            (FaultClass::Throttled, wait_until) => {
                self.retry(RefreshState::Throttled, now);
                if let Some(until) = wait_until.map(|until| self.spread(until)) {
                    // The account's wait is the minimum; without demand a longer back-off applies.
                    self.quiet_until = Some(until);
                    self.move_to(self.phase.due().max(self.due_in_quiet(until, now)));
                }
            }
            _ => self.refused(now),
        }
    }

    /// The upstream responded with nothing newer, which is no refusal. Some upstreams renew only
    /// shortly before the expiry: frequent requests would be wasted.
    fn nothing_new(&mut self, fault: Fault, now: Anchor) {
        self.health.count_failure();
        self.health.refusals = 0;
        self.health.last_fault = Some(fault);
        let left = self.end_of_life(now).since(now.boot);
        let late = self.current.is_none_or(|current| left <= current.life.ttl / LATE_SHARE);
        // Only a success clears an earlier failure.
        let stays_ok = !late && self.health.refresh == RefreshState::Ok;
        self.retry(if stays_ok { RefreshState::Ok } else { RefreshState::Retrying }, now);
        self.move_to(self.phase.due().max(now.boot + left / 4));
    }

    fn held(&mut self, class: FaultClass, until: BootTime, now: Anchor) {
        let refresh = match class {
            FaultClass::Transient => {
                self.phase = Phase::Busy { due: self.after_floor(until) };
                return;
            }
            FaultClass::Throttled => RefreshState::Throttled,
            _ => RefreshState::Rejected,
        };
        let until = if class == FaultClass::Throttled { self.spread(until) } else { until };
        // The upstream's own response for this resource is more specific than the hold.
        if self.health.refresh != refresh && !self.refused_itself() {
            self.health.refresh = refresh;
            self.health.last_fault = Some(Fault::new(class, "ACCOUNT_HELD"));
        }
        self.quiet(until, now);
    }

    /// Whether this resource or its configuration is refused. Whether the account is refused is
    /// for its budget to know.
    fn refused_itself(&self) -> bool {
        let own =
            |fault: &Fault| matches!(fault.class, FaultClass::Resource | FaultClass::Misconfigured);
        let Health { refresh, last_fault, .. } = &self.health;
        *refresh == RefreshState::Rejected && last_fault.as_ref().is_some_and(own)
    }

    /// Stray refusals happen: with a live grant, the first is retried like any failure.
    fn refused(&mut self, now: Anchor) {
        self.health.refusals = self.health.refusals.saturating_add(1);
        if self.is_live(now) && self.health.refusals == 1 {
            self.retry(RefreshState::Retrying, now);
        } else {
            self.health.refresh = RefreshState::Rejected;
            self.quiet(now.boot + PROBE_INTERVAL, now);
        }
    }

    fn retry(&mut self, refresh: RefreshState, now: Anchor) {
        self.health.refresh = refresh;
        self.quiet_until = None;
        let cap = if self.is_live(now) {
            self.policy.longest_pause(self.end_of_life(now).since(now.boot))
        } else if matches!(self.phase, Phase::Attempting { demanded: true, .. }) {
            MAX_BACKOFF
        } else {
            IDLE_BACKOFF
        };
        self.health.pause = next_pause(self.health.pause, cap, &mut self.rng);
        self.plan(now.boot + self.health.pause);
    }

    /// Waits until `until`, except for one last try before the current grant expires.
    fn quiet(&mut self, until: BootTime, now: Anchor) {
        self.quiet_until = Some(until);
        self.plan(self.due_in_quiet(until, now));
    }

    fn due_in_quiet(&self, until: BootTime, now: Anchor) -> BootTime {
        let end_of_life = self.end_of_life(now);
        let last_try = end_of_life - self.policy.last_try();
        let last_try = self.after_floor(last_try.max(now.boot));
        let spent = self.current.is_some_and(|current| current.last_try_spent);
        if !spent && last_try < end_of_life && last_try < until {
            last_try
        } else {
            self.after_floor(until)
        }
    }

    fn spread(&mut self, until: BootTime) -> BootTime {
        until + SPREAD.mul_f64(self.rng.f64())
    }

    /// The running attempt ended; the next one is not planned yet.
    fn ended(&mut self, now: Anchor) {
        self.last_attempt = Some(Ended { started: self.phase.due(), ended: now.boot });
    }

    /// Plans the next attempt.
    fn plan(&mut self, due: BootTime) {
        self.phase = Phase::Planned { due: self.after_floor(due) };
    }

    /// Moves the start of the next attempt without a change of phase.
    fn move_to(&mut self, due: BootTime) {
        let due = self.after_floor(due);
        self.phase.move_to(due);
    }

    fn after_floor(&self, due: BootTime) -> BootTime {
        self.last_attempt.map_or(due, |last| due.max(last.ended + FLOOR))
    }

    fn due_if_demanded(&self, now: Anchor) -> BootTime {
        let (Phase::Planned { due }, Some(last)) = (self.phase, self.last_attempt) else {
            return self.phase.due();
        };
        let earliest = self.quiet_until.map_or(now.boot, |until| until.max(now.boot));
        let pulled = if self.is_live(now) {
            last.started + self.demand_interval()
        } else {
            last.ended + MAX_BACKOFF
        };
        self.after_floor(pulled.max(earliest).min(due))
    }

    /// The time between refreshes of the current grant on demand. Demand for a long-lived grant
    /// costs the upstream few requests.
    fn demand_interval(&self) -> Duration {
        let share = self.current.map_or(Duration::ZERO, |current| current.life.ttl / DEMAND_SHARE);
        share.clamp(MIN_DEMAND_INTERVAL, MAX_DEMAND_INTERVAL)
    }

    fn urgency(&self, now: Anchor) -> Urgency {
        if matches!(self.phase, Phase::Ordered { .. }) {
            Urgency::Ordered
        } else if !self.is_live(now) {
            Urgency::Lapsed
        } else if self.quiet_until.is_some_and(|until| until > now.boot) {
            Urgency::LastTry
        } else {
            Urgency::Early
        }
    }

    fn is_live(&self, now: Anchor) -> bool {
        self.current.is_some_and(|current| current.life.is_live(now, self.policy.margin))
    }

    /// When the current grant's life ends by the clocks as they are now.
    fn end_of_life(&self, now: Anchor) -> BootTime {
        let left = self.current.map_or(Duration::ZERO, |current| current.life.left(now));
        now.boot + left.saturating_sub(self.policy.margin)
    }
}

#[cfg(test)]
mod tests;
