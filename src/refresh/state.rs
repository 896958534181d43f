//! What one grant's refresh does next: a machine without I/O, clock or randomness of its own.
//!
//! It is told what happened and when, and hands out the next step. An attempt is a token that
//! cannot be forgotten: it is completed, or the compiler complains.

mod phase;

use std::time::Duration;

use fastrand::Rng;

use self::phase::{Ended, Health, Phase, Present};
use super::schedule::Policy;
use crate::{
    clock::{Anchor, BootTime},
    grant::{Fault, FaultClass, Life, RefreshState, Status},
    source::{
        FetchError, Urgency,
        backoff::{MAX_BACKOFF, MAX_RETRY_AFTER, PROBE_INTERVAL, next_pause},
    },
};

/// No attempt starts sooner than this after the one before ended.
const FLOOR: Duration = Duration::from_millis(250);

/// Those that are held until one instant start within this after it, not all at once.
const SPREAD: Duration = Duration::from_millis(500);

/// The longest pause without a live grant, while nobody asks for one.
const UNASKED_BACKOFF: Duration = Duration::from_secs(30);

/// Refreshes of a live grant that callers ask for lie at least this share of its life apart,
/// given as its divisor.
const PULLED_FORWARD: u32 = 60;

/// And at least this far.
const CLOSEST_PULLED: Duration = Duration::from_secs(5);

/// But no farther than this: who needs more of a long life is not kept waiting for minutes.
const FARTHEST_PULLED: Duration = Duration::from_secs(60);

/// Attempts that callers order start at least this far apart.
const ORDERED_APART: Duration = Duration::from_secs(5);

/// A successor is late in this last share of a life, given as its divisor.
const LATE: u32 = 8;

/// An attempt to be made now.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "an attempt that is not completed is never followed by another"]
pub struct Attempt {
    /// How much hangs on it.
    pub urgency: Urgency,
    /// When it began.
    pub started: BootTime,
    /// Waiting for the budget past this instant is no use.
    pub give_up_at: BootTime,
}

impl Attempt {
    /// Uses the attempt up, and returns how much hung on it.
    fn spent(self) -> Urgency {
        self.urgency
    }

    /// Uses the attempt up, and returns when it began.
    fn over(self) -> BootTime {
        self.started
    }
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Step {
    /// Nothing until then.
    Wait(BootTime),
    /// This.
    Attempt(Attempt),
}

/// One grant's refresh.
#[derive(Debug)]
pub struct State {
    policy: Policy,
    rng: Rng,
    phase: Phase,
    present: Option<Present>,
    health: Health,
    /// Demand starts no attempt before this: the upstream asked for quiet, or refused. It is not
    /// part of a phase, since it outlasts an attempt that the account's budget did not admit.
    quiet_until: Option<BootTime>,
    last_attempt: Option<Ended>,
    /// When an attempt was last ordered that the account's budget let through.
    last_ordered: Option<BootTime>,
    latency: Option<Duration>,
}

impl State {
    /// A refresh that has no grant yet: its first attempt is due now.
    #[must_use]
    pub fn new(policy: Policy, rng: Rng, now: Anchor) -> Self {
        Self {
            policy,
            rng,
            phase: Phase::Planned { due: now.boot },
            present: None,
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
        if let Some(present) = &mut self.present {
            present.last_try_spent |= urgency == Urgency::LastTry;
        }
        self.phase = Phase::Attempting { started: now.boot, demanded: false };
        Step::Attempt(Attempt {
            urgency,
            started: now.boot,
            give_up_at: now.boot + self.policy.attempt,
        })
    }

    /// The attempt brought a grant that is now the present one, or found a newer one in place.
    pub fn succeeded(&mut self, attempt: Attempt, present: Life, now: Anchor) {
        let took = now.boot.since(attempt.over());
        self.latency = Some(self.latency.map_or(took, |mean| (mean * 3 + took) / 4));
        let draw = self.rng.f64();
        let point = if self.present.is_none() {
            self.policy.first_point(present.ttl, draw)
        } else {
            self.policy.drawn_point(present.ttl, draw)
        };
        self.ended(now);
        self.present = Some(Present { life: present, last_try_spent: false });
        self.health = Health::GOOD;
        self.quiet_until = None;
        self.plan(present.anchor.boot + point);
    }

    /// The attempt brought no grant.
    pub fn failed(&mut self, attempt: Attempt, error: FetchError, now: Anchor) {
        let urgency = attempt.spent();
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

    /// The present grant has another end than was known, though the attempt under way brought
    /// no successor.
    pub fn moved(&mut self, life: Life) {
        let last_try_spent = self.present.is_some_and(|present| present.last_try_spent);
        self.present = Some(Present { life, last_try_spent });
    }

    /// The attempt is lost: whoever made it panicked.
    pub fn abandoned(&mut self, now: Anchor) {
        if self.phase.is_attempting() {
            self.ended(now);
            self.health.count_failure();
            self.faulted(Fault::new(FaultClass::Transient, "ATTEMPT_PANICKED"), None, now);
        }
    }

    /// A caller is not served by the present grant.
    pub fn demanded(&mut self, now: Anchor) {
        match &mut self.phase {
            Phase::Attempting { demanded, .. } => *demanded = true,
            Phase::Planned { .. } => self.move_to(self.due_if_demanded(now)),
            Phase::Busy { .. } | Phase::Ordered { .. } => {}
        }
    }

    /// A caller orders an attempt now, whatever is planned. One under way counts as ordered.
    ///
    /// # Errors
    ///
    /// None may start yet; returns when one may.
    pub fn ordered(&mut self, now: Anchor) -> Result<(), BootTime> {
        if matches!(self.phase, Phase::Attempting { .. } | Phase::Ordered { .. }) {
            return Ok(());
        }
        let is_throttled = self.health.refresh == RefreshState::Throttled;
        let throttled = self.quiet_until.filter(|_| is_throttled);
        let apart = self.last_ordered.map(|last| last + ORDERED_APART);
        if let Some(until) = throttled.max(apart).filter(|until| *until > now.boot) {
            return Err(until);
        }
        self.last_ordered = Some(now.boot);
        self.phase = Phase::Ordered { due: self.not_too_soon(now.boot) };
        Ok(())
    }

    /// A clock jumped: a grant that is dead by it is fetched anew at once, one that ends
    /// sooner by it is refreshed sooner. What asks for quiet still applies, and a pending order
    /// is not delayed.
    pub fn jumped(&mut self, now: Anchor) {
        if self.present.is_none() || matches!(self.phase, Phase::Ordered { .. }) {
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

    /// The credential was replaced: that the former one was refused no longer matters.
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
            life: self.present.map(|present| present.life),
            refresh: self.health.refresh,
            next_attempt: Some(self.phase.due()),
            next_if_demanded: Some(self.due_if_demanded(now)),
            attempting: self.phase.is_attempting(),
            usual_latency: self.latency.unwrap_or(unknown.usual_latency),
            last_fault: self.health.last_fault.clone(),
            consecutive_failures: self.health.failures,
        }
    }

    // What follows is the arithmetic of the above.

    fn faulted(&mut self, fault: Fault, retry_after: Option<Duration>, now: Anchor) {
        let asked = retry_after.map(|asked| now.boot + asked.min(MAX_RETRY_AFTER));
        let class = fault.class;
        if class.heals() && self.refused_itself() {
            // The probe met something else, which says nothing about the refusal.
            let probe = now.boot + PROBE_INTERVAL;
            return self.quiet(asked.map_or(probe, |asked| asked.max(probe)), now);
        }
        self.health.last_fault = Some(fault);
        match (class, asked) {
            (FaultClass::Transient, _) => self.retry(RefreshState::Retrying, now),
            (FaultClass::Throttled, asked) => {
                self.retry(RefreshState::Throttled, now);
                if let Some(until) = asked.map(|until| self.spread(until)) {
                    // The account's wait is the least; where nobody asks, the back-off goes on.
                    self.quiet_until = Some(until);
                    self.move_to(self.phase.due().max(self.due_in_quiet(until, now)));
                }
            }
            _ => self.refused(now),
        }
    }

    /// The upstream works, so that it is no refusal. Some renew only shortly before the end:
    /// asking them often would only cost requests.
    fn nothing_new(&mut self, fault: Fault, now: Anchor) {
        self.health.count_failure();
        self.health.refusals = 0;
        self.health.last_fault = Some(fault);
        let left = self.end_of_life(now).since(now.boot);
        let late = self.present.is_none_or(|present| left <= present.life.ttl / LATE);
        // Only a success ends what was wrong before.
        let stays_ok = !late && self.health.refresh == RefreshState::Ok;
        self.retry(if stays_ok { RefreshState::Ok } else { RefreshState::Retrying }, now);
        self.move_to(self.phase.due().max(now.boot + left / 4));
    }

    fn held(&mut self, class: FaultClass, until: BootTime, now: Anchor) {
        let refresh = match class {
            FaultClass::Transient => {
                self.phase = Phase::Busy { due: self.not_too_soon(until) };
                return;
            }
            FaultClass::Throttled => RefreshState::Throttled,
            _ => RefreshState::Rejected,
        };
        let until = if class == FaultClass::Throttled { self.spread(until) } else { until };
        // What the upstream said of this resource, or to it, tells more than the hold.
        if self.health.refresh != refresh && !self.refused_itself() {
            self.health.refresh = refresh;
            self.health.last_fault = Some(Fault::new(class, "ACCOUNT_HELD"));
        }
        self.quiet(until, now);
    }

    /// Whether this resource or its configuration is refused; whether the account is, its
    /// budget knows.
    fn refused_itself(&self) -> bool {
        let own =
            |fault: &Fault| matches!(fault.class, FaultClass::Resource | FaultClass::Misconfigured);
        let Health { refresh, last_fault, .. } = &self.health;
        *refresh == RefreshState::Rejected && last_fault.as_ref().is_some_and(own)
    }

    /// A stray refusal happens: while a grant lives the first is retried like any failure.
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
            UNASKED_BACKOFF
        };
        self.health.pause = next_pause(self.health.pause, cap, &mut self.rng);
        self.plan(now.boot + self.health.pause);
    }

    /// Waits until `until`, but for one last try while the grant still lives.
    fn quiet(&mut self, until: BootTime, now: Anchor) {
        self.quiet_until = Some(until);
        self.plan(self.due_in_quiet(until, now));
    }

    fn due_in_quiet(&self, until: BootTime, now: Anchor) -> BootTime {
        let end_of_life = self.end_of_life(now);
        let last_try = end_of_life - self.policy.last_try();
        let last_try = self.not_too_soon(last_try.max(now.boot));
        let spent = self.present.is_some_and(|present| present.last_try_spent);
        if !spent && last_try < end_of_life && last_try < until {
            last_try
        } else {
            self.not_too_soon(until)
        }
    }

    fn spread(&mut self, until: BootTime) -> BootTime {
        until + SPREAD.mul_f64(self.rng.f64())
    }

    /// The running attempt ended; what follows it is not planned yet.
    fn ended(&mut self, now: Anchor) {
        self.last_attempt = Some(Ended { started: self.phase.due(), ended: now.boot });
    }

    /// Plans the next attempt.
    fn plan(&mut self, due: BootTime) {
        self.phase = Phase::Planned { due: self.not_too_soon(due) };
    }

    /// Moves the start of the next attempt. The phase stays.
    fn move_to(&mut self, due: BootTime) {
        let due = self.not_too_soon(due);
        self.phase.move_to(due);
    }

    fn not_too_soon(&self, due: BootTime) -> BootTime {
        self.last_attempt.map_or(due, |last| due.max(last.ended + FLOOR))
    }

    fn due_if_demanded(&self, now: Anchor) -> BootTime {
        let (Phase::Planned { due }, Some(last)) = (self.phase, self.last_attempt) else {
            return self.phase.due();
        };
        let earliest = self.quiet_until.map_or(now.boot, |until| until.max(now.boot));
        let pulled = if self.is_live(now) {
            last.started + self.pulled_apart()
        } else {
            last.ended + MAX_BACKOFF
        };
        self.not_too_soon(pulled.max(earliest).min(due))
    }

    /// How far apart refreshes of the present grant lie that callers ask for: a cheap grant's
    /// callers are served soon, a long one's cost the upstream no more.
    fn pulled_apart(&self) -> Duration {
        let share =
            self.present.map_or(Duration::ZERO, |present| present.life.ttl / PULLED_FORWARD);
        share.clamp(CLOSEST_PULLED, FARTHEST_PULLED)
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
        self.present.is_some_and(|present| present.life.is_live(now, self.policy.margin))
    }

    /// When the present grant's life ends, as far as both clocks know now.
    fn end_of_life(&self, now: Anchor) -> BootTime {
        let left = self.present.map_or(Duration::ZERO, |present| present.life.left(now));
        now.boot + left.saturating_sub(self.policy.margin)
    }
}

#[cfg(test)]
mod tests;
