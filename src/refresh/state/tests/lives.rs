//! Lives of half a minute, an hour and a day, which only the answers tell.

use super::*;

/// The lives, and the points at which grants are refreshed.
fn cases() -> impl Iterator<Item = (Duration, f64)> {
    let lives = [30, 3_600, 86_400].map(secs);
    lives.into_iter().flat_map(|life| [5.0 / 6.0, 0.5].map(|share| (life, share)))
}

fn told(share: f64) -> Policy {
    let (lives, point) = (Lives::Told, Point::Share(share));
    Policy { lives, margin: secs(2), attempt: secs(2), point }
}

/// From one instant to a later one.
fn between(earlier: Duration, later: Duration) -> Duration {
    later.checked_sub(earlier).unwrap()
}

fn unchanged() -> FetchError {
    FetchError::NothingNew(Fault::new(FaultClass::Transient, "GRANT_UNCHANGED"))
}

impl Machine {
    /// Takes a grant of this life at `at`.
    fn take(&mut self, attempt: Attempt, ttl: Duration, at: Duration) {
        let life = Life { anchor: self.at(at), ttl, generation: Generation::NONE };
        self.state.succeeded(attempt, life, self.at(at));
    }
}

#[test]
fn a_healthy_upstream_is_asked_once_a_life() {
    for (ttl, share) in cases() {
        let mut machine = Machine::under(told(share), ttl);
        let point = told(share).point(ttl);
        let mut last = Duration::ZERO;
        for cycle in 0..20 {
            let due = machine.due(last);
            let after = between(last, due);
            let earliest = if cycle == 0 { point.mul_f64(0.3) } else { point.mul_f64(0.9) };
            assert!((earliest..=point).contains(&after), "{ttl:?} {share} {cycle}: {after:?}");
            let attempt = machine.attempt(due);
            assert_eq!(attempt.urgency, Urgency::Early);
            machine.take(attempt, ttl, due);
            last = due;
        }
    }
}

#[test]
fn in_an_outage_a_life_is_used_up_without_a_long_pause() {
    for (ttl, share) in cases() {
        let mut machine = Machine::under(told(share), ttl);
        let (end_of_life, mut attempts) = (between(secs(2), ttl), 0_u32);
        let mut at = machine.due(Duration::ZERO);
        // The last twenty seconds; what came before them is the same.
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
        // Then the pauses widen.
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
fn callers_pull_a_refresh_forward_to_a_sixtieth_of_the_life_after_the_last() {
    for (ttl, apart) in [(30, 5), (300, 5), (600, 10), (3_600, 60), (86_400, 60)] {
        let mut machine = Machine::under(told(5.0 / 6.0), secs(ttl));
        machine.state.demanded(machine.at(secs(1)));
        assert_eq!(machine.due(secs(1)), secs(apart), "{ttl}");
        // The life of the present grant counts, not the first one's.
        let attempt = machine.attempt(secs(apart));
        machine.take(attempt, secs(1_200), secs(apart));
        machine.state.demanded(machine.at(secs(apart + 1)));
        assert_eq!(machine.due(secs(apart + 1)), secs(apart + 20), "{ttl}");
    }
}

#[test]
fn an_upstream_that_renews_shortly_before_the_end_is_asked_a_dozen_times() {
    for ttl in [3_600, 7_200, 86_400].map(secs) {
        let mut machine = Machine::under(told(5.0 / 6.0), ttl);
        let (mut at, mut asked) = (machine.due(Duration::ZERO), 0);
        let (end_of_life, renewed) = (between(secs(2), ttl), between(secs(300), ttl));
        while at < renewed {
            let attempt = machine.attempt(at);
            machine.fail(attempt, unchanged(), at);
            let left = between(at, end_of_life);
            let quiet = machine.state.status(machine.at(at)).refresh == RefreshState::Ok;
            assert_eq!(quiet, left > ttl / 8, "{ttl:?}: warned {left:?} before the end");
            let due = machine.due(at);
            assert_eq!(between(at, due), left / 4, "{ttl:?}");
            (at, asked) = (due, asked + 1);
        }
        assert!(at < between(secs(120), end_of_life) && asked < 20, "{ttl:?}: {asked}, {at:?}");
    }
}

#[test]
fn a_present_grant_that_was_cut_short_is_planned_for_by_its_new_end() {
    let mut machine = Machine::under(told(0.5), secs(3_600));
    let at = machine.due(Duration::ZERO);
    let attempt = machine.attempt(at);
    let life = Life { anchor: machine.at(at), ttl: secs(42), generation: Generation::NONE };
    machine.state.moved(life);
    machine.fail(attempt, unchanged(), at);
    assert_eq!(machine.due(at), at + secs(10), "a quarter of what is left less the margin");
    assert_eq!(machine.state.status(machine.at(at)).life, Some(life));
}
