//! Edge cases of holds, last tries and clock jumps.

use super::*;
use crate::{
    clock::Clock,
    grant::Generation,
    refresh::schedule::{GrantLife, Point},
};

mod lives;
mod orders;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Refreshes at five sixths of the requested life, with a margin of two seconds.
fn policy(grant_ttl: u64, attempt: u64) -> Policy {
    let (life, point) = (GrantLife::Requested(secs(grant_ttl)), Point::Share(5.0 / 6.0));
    Policy { life, margin: secs(2), attempt: secs(attempt), point }
}

/// A state, with times relative to `start`.
struct Machine {
    state: State,
    start: Anchor,
}

impl Machine {
    /// Received a grant of a minute at the start.
    fn with_a_grant() -> Self {
        Self::under(policy(60, 2), secs(60))
    }

    /// The same with another policy.
    fn under(policy: Policy, ttl: Duration) -> Self {
        let start = Clock::system().now();
        let mut machine = Self { state: State::new(policy, Rng::with_seed(1), start), start };
        let life = Life { anchor: start, ttl, generation: Generation::NONE };
        let attempt = machine.attempt(Duration::ZERO);
        machine.state.succeeded(attempt, life, start);
        machine
    }

    fn at(&self, since: Duration) -> Anchor {
        Anchor { boot: self.start.boot + since, wall: self.start.wall + since }
    }

    fn attempt(&mut self, at: Duration) -> Attempt {
        match self.state.step(self.at(at)) {
            Step::Attempt(attempt) => attempt,
            Step::Wait(until) => panic!("not due before {:?}", until.since(self.start.boot)),
        }
    }

    fn fail(&mut self, attempt: Attempt, error: FetchError, at: Duration) {
        let now = self.at(at);
        self.state.failed(attempt, error, now);
    }

    /// Orders an attempt; fails with the earliest time for one, from the start.
    fn order(&mut self, at: Duration) -> Result<(), Duration> {
        let now = self.at(at);
        self.state.ordered(now).map_err(|until| until.since(self.start.boot))
    }

    fn attempt_at_order(&mut self, at: Duration) -> Attempt {
        assert_eq!(self.order(at), Ok(()));
        self.attempt(at)
    }

    /// When the next attempt is due, from the start.
    fn due(&mut self, at: Duration) -> Duration {
        match self.state.step(self.at(at)) {
            Step::Wait(until) => until.since(self.start.boot),
            Step::Attempt(_) => panic!("due already"),
        }
    }

    fn held(&self, class: FaultClass, until: Duration) -> FetchError {
        FetchError::Held { class, until: self.start.boot + until }
    }
}

fn refusal() -> FetchError {
    Fault::new(FaultClass::Resource, "HTTP_STATUS_404").into()
}

fn outage() -> FetchError {
    Fault::new(FaultClass::Transient, "HTTP_STATUS_500").into()
}

#[test]
fn running_attempt_blocks_the_next_one() {
    let mut machine = Machine::with_a_grant();
    let attempt = machine.attempt(secs(50));
    assert_eq!(machine.due(secs(59)), secs(50), "reported as its start");
    machine.state.demanded(machine.at(secs(59)));
    machine.state.jumped(machine.at(secs(90)));
    assert_eq!(machine.due(secs(90)), secs(50));
    machine.fail(attempt, outage(), secs(90));
    assert!(machine.due(secs(90)) >= millis(90_250));
}

#[test]
fn demand_does_not_bypass_a_busy_budget() {
    let mut machine = Machine::with_a_grant();
    let attempt = machine.attempt(secs(50));
    let busy = machine.held(FaultClass::Transient, secs(57));
    machine.fail(attempt, busy, secs(50));
    machine.state.demanded(machine.at(secs(56)));
    assert_eq!(machine.due(secs(56)), secs(57));
    let status = machine.state.status(machine.at(secs(56)));
    assert_eq!(status.next_if_demanded, status.next_attempt);
    assert_eq!((status.refresh, status.consecutive_failures), (RefreshState::Ok, 0));
}

#[test]
fn last_try_waits_for_a_busy_budget() {
    let mut machine = Machine::with_a_grant();
    for at in [50, 52] {
        let attempt = machine.attempt(secs(at));
        machine.fail(attempt, refusal(), secs(at));
    }
    assert_eq!(machine.due(secs(53)), secs(55));
    let attempt = machine.attempt(secs(55));
    assert_eq!(attempt.urgency, Urgency::LastTry);
    let busy = machine.held(FaultClass::Transient, secs(56));
    machine.fail(attempt, busy, secs(55));
    let attempt = machine.attempt(secs(56));
    assert_eq!(attempt.urgency, Urgency::LastTry);
    machine.fail(attempt, refusal(), secs(56));
    assert_eq!(machine.due(secs(57)), secs(86));
}

#[test]
fn slow_source_gets_an_earlier_last_try() {
    let mut machine = Machine::under(policy(120, 10), secs(120));
    for at in [90, 95] {
        let attempt = machine.attempt(secs(at));
        assert_eq!(attempt.give_up_at.since(machine.start.boot), secs(at + 10));
        machine.fail(attempt, refusal(), secs(at));
    }
    assert_eq!(machine.due(secs(96)), secs(107), "the last try, 11 s before 118 s");
}

#[test]
fn refusal_near_expiry_waits_for_the_probe() {
    let mut machine = Machine::with_a_grant();
    for at in [50_000, 57_900] {
        let attempt = machine.attempt(millis(at));
        machine.fail(attempt, refusal(), millis(at));
    }
    assert_eq!(machine.due(secs(58)), millis(87_900));
}

#[test]
fn clock_jump_does_not_bring_a_probe_forward() {
    let mut machine = Machine::with_a_grant();
    for at in [50, 52] {
        let attempt = machine.attempt(secs(at));
        machine.fail(attempt, refusal(), secs(at));
    }
    let mut forward = machine.at(secs(53));
    forward.wall = forward.wall + secs(3_600);
    machine.state.jumped(forward);
    assert_eq!(machine.state.step(forward), Step::Wait(machine.start.boot + secs(82)));
}

#[test]
fn clock_jump_keeps_the_floor() {
    let mut machine = Machine::with_a_grant();
    let attempt = machine.attempt(secs(50));
    machine.fail(attempt, outage(), secs(50));
    let mut forward = machine.at(millis(50_010));
    forward.wall = forward.wall + secs(3_600);
    machine.state.jumped(forward);
    assert_eq!(machine.state.step(forward), Step::Wait(machine.start.boot + millis(50_250)));
}

#[test]
fn grant_old_on_arrival_is_refreshed_after_the_floor() {
    let mut machine = Machine::with_a_grant();
    let attempt = machine.attempt(secs(55));
    // A late response finds this grant published.
    let life = Life { anchor: machine.start, ttl: secs(60), generation: Generation::NONE };
    machine.state.succeeded(attempt, life, machine.at(secs(55)));
    assert_eq!(machine.due(secs(55)), millis(55_250));
}

#[test]
fn hold_does_not_hide_what_the_upstream_reported() {
    let mut machine = Machine::with_a_grant();
    let attempt = machine.attempt(secs(60));
    let missing = Fault { not_found: true, ..Fault::new(FaultClass::Resource, "HTTP_STATUS_404") };
    machine.fail(attempt, missing.into(), secs(60));
    for (at, class) in [(90, FaultClass::Throttled), (92, FaultClass::Credential)] {
        let attempt = machine.attempt(secs(at));
        let held = machine.held(class, secs(at + 1));
        machine.fail(attempt, held, secs(at));
        let status = machine.state.status(machine.at(secs(at)));
        assert_eq!(status.refresh, RefreshState::Rejected);
        assert!(status.not_found(), "{class:?}");
    }
}

#[test]
fn unchanged_grant_does_not_clear_earlier_faults() {
    let unchanged = || FetchError::NothingNew(Fault::new(FaultClass::Transient, "GRANT_UNCHANGED"));
    let mut machine = Machine::with_a_grant();
    let attempt = machine.attempt(secs(50));
    machine.fail(attempt, unchanged(), secs(50));
    assert_eq!(machine.state.status(machine.at(secs(50))).refresh, RefreshState::Ok);
    assert_eq!(machine.due(secs(50)), secs(52), "a quarter of what is left");

    for earlier in [outage(), refusal()] {
        let mut machine = Machine::with_a_grant();
        for (at, error) in [(50, earlier.clone()), (52, earlier), (55, unchanged())] {
            let attempt = machine.attempt(secs(at));
            machine.fail(attempt, error, secs(at));
        }
        let status = machine.state.status(machine.at(secs(55)));
        assert_eq!(status.refresh, RefreshState::Retrying);
        assert_eq!(status.consecutive_failures, 3);
    }
}

#[test]
fn new_credential_is_tried_at_once() {
    let of_class = |class| FetchError::from(Fault::new(class, "REFUSED"));
    for (class, at_once) in [(FaultClass::Credential, true), (FaultClass::Resource, false)] {
        let mut machine = Machine::with_a_grant();
        for at in [50, 52] {
            let attempt = machine.attempt(secs(at));
            machine.fail(attempt, of_class(class), secs(at));
        }
        assert_eq!(machine.state.status(machine.at(secs(52))).refresh, RefreshState::Rejected);
        let now = machine.at(secs(52) + millis(500));
        machine.state.rekeyed(now);
        let due = machine.state.status(now).next_attempt.unwrap().since(machine.start.boot);
        assert_eq!(due <= secs(52) + millis(500), at_once, "{class:?}: {due:?}");
    }
}
