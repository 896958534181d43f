//! Reported lives of half a minute, an hour and a day.

use super::*;

/// The lives, and the refresh points as shares of them.
fn cases() -> impl Iterator<Item = (Duration, f64)> {
    let lives = [30, 3_600, 86_400].map(secs);
    lives.into_iter().flat_map(|life| [5.0 / 6.0, 0.5].map(|share| (life, share)))
}

fn reported(share: f64) -> Policy {
    let (life, point) = (GrantLife::Reported, Point::Share(share));
    Policy { life, margin: secs(2), attempt: secs(2), point }
}

/// The time between two instants.
fn between(earlier: Duration, later: Duration) -> Duration {
    later.checked_sub(earlier).unwrap()
}

fn unchanged() -> FetchError {
    FetchError::NothingNew(Fault::new(FaultClass::Transient, "GRANT_UNCHANGED"))
}

impl Machine {
    /// Receives a grant of this life at `at`.
    fn receive(&mut self, attempt: Attempt, ttl: Duration, at: Duration) {
        let life = Life { anchor: self.at(at), ttl, generation: Generation::NONE };
        self.state.succeeded(attempt, life, self.at(at));
    }
}

#[test]
fn healthy_upstream_is_called_once_a_life() {
    for (ttl, share) in cases() {
        let mut machine = Machine::under(reported(share), ttl);
        let point = reported(share).point(ttl);
        let mut last = Duration::ZERO;
        for cycle in 0..20 {
            let due = machine.due(last);
            let after = between(last, due);
            let earliest = if cycle == 0 { point.mul_f64(0.3) } else { point.mul_f64(0.9) };
            assert!((earliest..=point).contains(&after), "{ttl:?} {share} {cycle}: {after:?}");
            let attempt = machine.attempt(due);
            assert_eq!(attempt.urgency, Urgency::Early);
            machine.receive(attempt, ttl, due);
            last = due;
        }
    }
}

#[test]
fn outage_is_retried_until_the_grant_expires() {
    for (ttl, share) in cases() {
        let mut machine = Machine::under(reported(share), ttl);
        let (end_of_life, mut attempts) = (between(secs(2), ttl), 0_u32);
        let mut at = machine.due(Duration::ZERO);
        // The last twenty seconds; before them, the pauses are the same.
        at = at.max(end_of_life.saturating_sub(secs(20)));
        while at < end_of_life {
            let attempt = machine.attempt(at);
            machine.fail(attempt, outage(), at);
            let due = machine.due(at);
            let pause = between(at, due);
            assert!((FLOOR..=secs(2)).contains(&pause), "{ttl:?} {share}: {pause:?}");
            assert_eq!(machine.state.status(machine.at(at)).refresh, RefreshState::Retrying);
            attempts += 1;
            at = due;
        }
        assert!(attempts >= 3, "{ttl:?} {share}: {attempts}");
        // After the expiry, the pauses widen.
        for _ in 0..20 {
            let attempt = machine.attempt(at);
            machine.fail(attempt, outage(), at);
            let due = machine.due(at);
            assert!(between(at, due) <= secs(30), "{ttl:?} {share}");
            at = due;
        }
    }
}

#[test]
fn demand_interval_is_a_sixtieth_of_the_life() {
    for (ttl, apart) in [(30, 5), (300, 5), (600, 10), (3_600, 60), (86_400, 60)] {
        let mut machine = Machine::under(reported(5.0 / 6.0), secs(ttl));
        machine.state.demanded(machine.at(secs(1)));
        assert_eq!(machine.due(secs(1)), secs(apart), "{ttl}");
        // The life of the current grant counts, not that of the first one.
        let attempt = machine.attempt(secs(apart));
        machine.receive(attempt, secs(1_200), secs(apart));
        machine.state.demanded(machine.at(secs(apart + 1)));
        assert_eq!(machine.due(secs(apart + 1)), secs(apart + 20), "{ttl}");
    }
}

#[test]
fn late_renewal_costs_about_a_dozen_requests() {
    for ttl in [3_600, 7_200, 86_400].map(secs) {
        let mut machine = Machine::under(reported(5.0 / 6.0), ttl);
        let (mut at, mut requests) = (machine.due(Duration::ZERO), 0);
        let (end_of_life, renewed) = (between(secs(2), ttl), between(secs(300), ttl));
        while at < renewed {
            let attempt = machine.attempt(at);
            machine.fail(attempt, unchanged(), at);
            let left = between(at, end_of_life);
            let quiet = machine.state.status(machine.at(at)).refresh == RefreshState::Ok;
            assert_eq!(quiet, left > ttl / 8, "{ttl:?}: warned {left:?} before the end");
            let due = machine.due(at);
            assert_eq!(between(at, due), left / 4, "{ttl:?}");
            (at, requests) = (due, requests + 1);
        }
        assert!(
            at < between(secs(120), end_of_life) && requests < 20,
            "{ttl:?}: {requests}, {at:?}"
        );
    }
}

#[test]
fn shortened_grant_is_planned_by_its_new_expiry() {
    let mut machine = Machine::under(reported(0.5), secs(3_600));
    let at = machine.due(Duration::ZERO);
    let attempt = machine.attempt(at);
    let life = Life { anchor: machine.at(at), ttl: secs(42), generation: Generation::NONE };
    machine.state.life_changed(life);
    machine.fail(attempt, unchanged(), at);
    assert_eq!(machine.due(at), at + secs(10), "a quarter of what is left less the margin");
    assert_eq!(machine.state.status(machine.at(at)).life, Some(life));
}
