//! What holds for the terms of every token, whatever the clocks, the grant and the call.

use proptest::prelude::*;

use super::*;
use crate::clock::Clock;

const MINUTE: u64 = 60_000;

/// A call and a grant, in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Case {
    granted: u64,
    margin: u64,
    age: u64,
    /// How much further the wall clock went than the boot clock since the grant began.
    step: i64,
    ttl: u64,
    min_remaining: u64,
    policy: ExpiryPolicy,
}

fn cases() -> impl Strategy<Value = Case> {
    let ages = prop_oneof![0..2 * MINUTE, 50_000..62_000_u64];
    let steps = prop_oneof![Just(0), -3_000..3_000_i64, -4_000_000..4_000_000_i64];
    let ttls = prop_oneof![0..2 * MINUTE, Just(60 * MINUTE), Just(1_440 * MINUTE)];
    let remaining = prop_oneof![Just(0), 0..MINUTE];
    let policies = prop::sample::select(&ExpiryPolicy::ALL[..]);
    (1..2 * MINUTE, 1_000..10_000_u64, ages, steps, ttls, remaining, policies).prop_map(
        |(granted, margin, age, step, ttl, min_remaining, policy)| Case {
            granted,
            margin,
            age,
            step,
            // The least that a call may ask for is the margin and a second.
            ttl: ttl.max(margin + 1_000),
            min_remaining,
            policy,
        },
    )
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn shifted(wall: WallTime, by: i64) -> WallTime {
    if by < 0 { wall - millis(by.unsigned_abs()) } else { wall + millis(by.unsigned_abs()) }
}

impl Case {
    /// What is left of the grant, by the design's words: the clock that says older wins.
    fn left(self) -> i64 {
        let [granted, age] = [self.granted, self.age].map(u64::cast_signed);
        (granted - age).min(granted + 2_000 - (age + self.step))
    }

    fn terms(self) -> (Anchor, Result<Terms, Lack>) {
        let anchor = Clock::system().now();
        let wall = shifted(anchor.wall + millis(self.age), self.step);
        let now = Anchor { boot: anchor.boot + millis(self.age), wall };
        let generation = Generation::from_caller(5);
        let life = Life { anchor, ttl: millis(self.granted), generation };
        let ask = Ask {
            ttl: millis(self.ttl),
            min_remaining: millis(self.min_remaining),
            policy: self.policy,
            after: Generation::NONE,
        };
        (now, ask.terms(life, millis(self.margin), now))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_token_never_outlives_what_it_promises(case in cases()) {
        let (now, terms) = case.terms();
        let [margin, ttl] = [case.margin, case.ttl].map(u64::cast_signed);
        let left = case.left();
        let (expiry, fits) = match case.policy {
            ExpiryPolicy::ClampToGrant => (ttl.min(left), true),
            ExpiryPolicy::RequireFullTtl => (ttl, ttl <= left),
            ExpiryPolicy::Independent => (ttl, true),
        };
        let good_for = expiry.min(left) - margin;
        match terms {
            Err(Lack::Expired(end)) => {
                prop_assert!(left <= margin);
                prop_assert_eq!(end, shifted(now.wall, left), "the true end, past or not");
            }
            Err(Lack::TooShort) => {
                let meets = good_for > 0 && good_for >= case.min_remaining.cast_signed();
                prop_assert!(left > margin && !(fits && meets));
            }
            Err(lack) => prop_assert!(false, "{lack:?}"),
            Ok(terms) => {
                prop_assert!(left > margin, "carries a dead grant");
                prop_assert!(fits && good_for > 0);
                prop_assert_eq!(terms.use_within, millis(good_for.unsigned_abs()));
                prop_assert_eq!(terms.use_by, now.wall + terms.use_within);
                prop_assert!(terms.use_within >= millis(case.min_remaining));
                // Rounded down, and never by more than the margin that use-by keeps.
                let exact = shifted(now.wall, expiry);
                prop_assert_eq!(terms.expire.unix_seconds(), exact.unix_seconds());
                prop_assert!(terms.expire <= exact && terms.expire >= terms.use_by);
                let end = shifted(now.wall, left);
                prop_assert!(terms.use_by + millis(case.margin) <= end);
                if case.policy == ExpiryPolicy::ClampToGrant {
                    prop_assert!(terms.expire <= end, "clamped");
                }
                prop_assert_eq!(terms.issue, now.wall);
                prop_assert_eq!(terms.times().issue, now.wall.unix_seconds());
            }
        }
    }

    #[test]
    fn a_wall_clock_set_back_changes_nothing(case in cases(), back in 0..4_000_000_i64) {
        let as_it_went = Case { step: 0, ..case }.terms().1.map(|terms| terms.use_within).ok();
        let set_back = Case { step: -back, ..case }.terms().1.map(|terms| terms.use_within).ok();
        prop_assert_eq!(as_it_went, set_back);
    }

    #[test]
    fn time_alone_never_makes_a_grant_good_again(case in cases(), later in 0..MINUTE) {
        let later = Case { age: case.age + later, ..case };
        prop_assert!(case.terms().1.is_ok() || later.terms().1.is_err());
    }
}

#[test]
fn only_a_newer_grant_than_asked_will_do_and_a_dead_one_is_told_as_dead() {
    let anchor = Clock::system().now();
    let life = Life { anchor, ttl: millis(60_000), generation: Generation::from_caller(5) };
    let ask = |after, min_remaining| Ask {
        ttl: millis(3_600_000),
        min_remaining: millis(min_remaining),
        policy: ExpiryPolicy::ClampToGrant,
        after: Generation::from_caller(after),
    };
    let margin = millis(2_000);
    let lack = |ask: Ask, now| ask.terms(life, margin, now).err();
    assert_eq!(lack(ask(4, 0), anchor), None);
    assert_eq!(lack(ask(5, 0), anchor), Some(Lack::NotNewer));
    assert_eq!(lack(ask(5, 59_000), anchor), Some(Lack::NotNewer));
    assert_eq!(lack(ask(4, 59_000), anchor), Some(Lack::TooShort));
    let dead = millis(58_000);
    let dead = Anchor { boot: anchor.boot + dead, wall: anchor.wall + dead };
    let end = anchor.wall + millis(60_000);
    assert_eq!(lack(ask(5, 59_000), dead), Some(Lack::Expired(end)));
}
