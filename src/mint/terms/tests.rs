//! Invariants of every token's terms, for any clocks, grant and call.

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
    /// How far the wall clock ran ahead of the boot clock since the grant's anchor.
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
            // A call may request no less than the margin and a second.
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
    /// What is left of the grant as the design defines it: the clock that reports the greater age
    /// wins.
    fn left(self) -> i64 {
        let [granted, age] = [self.granted, self.age].map(u64::cast_signed);
        (granted - age).min(granted + 2_000 - (age + self.step))
    }

    fn terms(self) -> (Anchor, Result<Terms, Shortfall>) {
        let anchor = Clock::system().now();
        let wall = shifted(anchor.wall + millis(self.age), self.step);
        let now = Anchor { boot: anchor.boot + millis(self.age), wall };
        let generation = Generation::from_caller(5);
        let life = Life { anchor, ttl: millis(self.granted), generation };
        let request = TokenRequest {
            ttl: millis(self.ttl),
            min_remaining: millis(self.min_remaining),
            policy: self.policy,
            after: Generation::NONE,
        };
        (now, request.terms(life, millis(self.margin), now))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn terms_never_exceed_grant_ttl_or_margin(case in cases()) {
        let (now, terms) = case.terms();
        let [margin, ttl] = [case.margin, case.ttl].map(u64::cast_signed);
        let left = case.left();
        let (expiry, fits) = match case.policy {
            ExpiryPolicy::ClampToGrant => (ttl.min(left), true),
            ExpiryPolicy::RequireFullTtl => (ttl, ttl <= left),
            ExpiryPolicy::Independent => (ttl, true),
        };
        let usable = expiry.min(left) - margin;
        match terms {
            Err(Shortfall::Expired(end)) => {
                prop_assert!(left <= margin);
                prop_assert_eq!(end, shifted(now.wall, left), "the true expiry, past or not");
            }
            Err(Shortfall::TooShort) => {
                let meets = usable > 0 && usable >= case.min_remaining.cast_signed();
                prop_assert!(left > margin && !(fits && meets));
            }
            Err(shortfall) => prop_assert!(false, "{shortfall:?}"),
            Ok(terms) => {
                prop_assert!(left > margin, "carries an expired grant");
                prop_assert!(fits && usable > 0);
                prop_assert_eq!(terms.use_within, millis(usable.unsigned_abs()));
                prop_assert_eq!(terms.use_by, now.wall + terms.use_within);
                prop_assert!(terms.use_within >= millis(case.min_remaining));
                // Rounded down, by no more than the margin that use-by keeps.
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
    fn wall_clock_set_back_changes_nothing(case in cases(), back in 0..4_000_000_i64) {
        let unchanged = Case { step: 0, ..case }.terms().1.map(|terms| terms.use_within).ok();
        let set_back = Case { step: -back, ..case }.terms().1.map(|terms| terms.use_within).ok();
        prop_assert_eq!(unchanged, set_back);
    }

    #[test]
    fn unusable_grant_never_becomes_usable_with_time(case in cases(), later in 0..MINUTE) {
        let later = Case { age: case.age + later, ..case };
        prop_assert!(case.terms().1.is_ok() || later.terms().1.is_err());
    }
}

#[test]
fn older_generation_and_expired_grant_are_reported() {
    let anchor = Clock::system().now();
    let life = Life { anchor, ttl: millis(60_000), generation: Generation::from_caller(5) };
    let request = |after, min_remaining| TokenRequest {
        ttl: millis(3_600_000),
        min_remaining: millis(min_remaining),
        policy: ExpiryPolicy::ClampToGrant,
        after: Generation::from_caller(after),
    };
    let margin = millis(2_000);
    let shortfall = |request: TokenRequest, now| request.terms(life, margin, now).err();
    assert_eq!(shortfall(request(4, 0), anchor), None);
    assert_eq!(shortfall(request(5, 0), anchor), Some(Shortfall::NotNewer));
    assert_eq!(shortfall(request(5, 59_000), anchor), Some(Shortfall::NotNewer));
    assert_eq!(shortfall(request(4, 59_000), anchor), Some(Shortfall::TooShort));
    let expired = millis(58_000);
    let expired = Anchor { boot: anchor.boot + expired, wall: anchor.wall + expired };
    let end = anchor.wall + millis(60_000);
    assert_eq!(shortfall(request(5, 59_000), expired), Some(Shortfall::Expired(end)));
}
