//! Sequences of responses, as caches and stepped clocks produce them.

use proptest::prelude::*;

use super::*;
use crate::{
    clock::{Anchor, Clock},
    grant::{Content, Generation},
    source::{Granted, Mark},
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A lineage and the current grant, with times relative to `start`.
struct Fixture {
    lineage: Lineage,
    start: Anchor,
    current: Option<Life>,
}

impl Fixture {
    fn new() -> Self {
        Self { lineage: Lineage::default(), start: Clock::system().now(), current: None }
    }

    /// The current grant's expiry, in seconds from the start, after a response at `at` that claims
    /// a life of `ttl`.
    fn respond(&mut self, at: f64, ttl: u64, mark: Mark) -> Result<f64, String> {
        self.respond_after(at, ttl, mark, false)
    }

    fn respond_after(
        &mut self,
        at: f64,
        ttl: u64,
        mark: Mark,
        refused: bool,
    ) -> Result<f64, String> {
        self.check(at, Granted::Assumed(secs(ttl)), mark, refused).map(|(_, end)| end)
    }

    /// The same for a response that states the remaining life, with the change.
    fn state(&mut self, at: f64, ttl: u64, mark: Mark) -> Result<(Change, f64), String> {
        self.check(at, Granted::Stated(secs(ttl)), mark, false)
    }

    fn check(
        &mut self,
        at: f64,
        granted: Granted,
        mark: Mark,
        refused: bool,
    ) -> Result<(Change, f64), String> {
        let since = Duration::from_secs_f64(at);
        let anchor = Anchor { boot: self.start.boot + since, wall: self.start.wall + since };
        let fetched = Fetched { content: Content::from("{}"), anchor, granted, mark };
        let current = self.current.map(|life| Current { life, refused });
        let checked = self.lineage.check(&fetched, current);
        let admitted = checked.map_err(|fault| fault.reason.to_string())?;
        self.lineage.commit(admitted);
        let ttl = admitted.ttl;
        self.current = Some(Life { anchor, ttl, generation: Generation::NONE });
        Ok((admitted.change, (anchor.boot + ttl).since(self.start.boot).as_secs_f64()))
    }
}

/// The mark of a grant without a stated expiry.
fn opaque(credential: &str) -> Mark {
    Mark::of(credential, None)
}

/// The mark of a grant that expires at `expires`.
fn stating(expires: f64) -> Mark {
    Mark::of(&expires.to_string(), Some(expires))
}

fn unchanged<T>() -> Result<T, String> {
    Err("GRANT_UNCHANGED".into())
}

#[test]
fn repeated_grant_never_extends_its_life() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.respond(0.0, 60, opaque("a")), Ok(60.0));
    for at in [10.0, 50.0, 61.0, 200.0] {
        assert_eq!(fixture.respond(at, 60, opaque("a")), unchanged(), "{at}");
    }
}

#[test]
fn alternating_caches_do_not_bring_back_old_grants() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.respond(0.0, 60, opaque("a")), Ok(60.0));
    assert_eq!(fixture.respond(50.0, 60, opaque("b")), Ok(110.0));
    assert_eq!(fixture.respond(100.0, 60, opaque("a")), unchanged());
    assert_eq!(fixture.respond(120.0, 60, opaque("b")), unchanged());
    assert_eq!(fixture.respond(121.0, 60, opaque("c")), Ok(181.0));
}

#[test]
fn new_grant_with_no_later_expiry_is_unchanged() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.respond(0.0, 60, stating(1_060.0)), Ok(60.0));
    assert_eq!(fixture.respond(50.0, 60, stating(1_059.0)), unchanged());
    assert_eq!(fixture.respond(70.0, 60, Mark::of("other", Some(1_060.0))), unchanged());
    assert_eq!(fixture.respond(71.0, 60, stating(1_131.0)), Ok(131.0));
}

#[test]
fn expiry_moves_no_further_than_grants_state() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.respond(0.0, 60, stating(1_060.0)), Ok(60.0));
    // A cache fetched it 30 s ago.
    let end = fixture.respond(50.0, 60, stating(1_080.0)).unwrap();
    assert!((81.0..81.1).contains(&end), "{end}");
}

#[test]
fn stale_cache_gains_nothing_in_an_hour() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.respond(0.0, 60, stating(1_060.0)), Ok(60.0));
    for turn in 1..=120_u32 {
        let at = f64::from(turn) * 30.0;
        // Each response is 20 s old, so that its grant expires 40 s later.
        let end = fixture.respond(at, 60, stating(1_040.0 + at)).unwrap();
        assert!(end <= at + 40.0 + 1.0 + at * 0.001, "{turn}: {end} at {at}");
        assert!(end >= at + 40.0, "{turn}: {end} at {at}");
    }
}

#[test]
fn shorter_grant_replaces_only_a_refused_one() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.respond(0.0, 60, opaque("a")), Ok(60.0));
    assert_eq!(fixture.respond(16.0, 4, opaque("b")), Err("GRANT_ENDS_SOONER".into()));
    // A refused response may be accepted later, but with no more life than it had at first.
    assert_eq!(fixture.respond_after(17.0, 4, opaque("b"), true), Ok(20.0));
    assert_eq!(fixture.respond(18.0, 60, opaque("c")), Ok(78.0));
    assert_eq!(fixture.respond_after(19.0, 60, opaque("a"), true), unchanged());
    assert_eq!(fixture.respond_after(20.0, 60, opaque("c"), true), unchanged());
}

#[test]
fn refused_grant_accepts_an_earlier_stated_expiry() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.respond(0.0, 60, stating(1_060.0)), Ok(60.0));
    let end = fixture.respond_after(10.0, 60, stating(1_030.0), true).unwrap();
    assert!((30.9..=31.0).contains(&end), "{end}");
}

#[test]
fn far_future_expiry_is_no_reference() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.respond(0.0, 60, stating(1_060.0)), Ok(60.0));
    assert_eq!(fixture.respond(50.0, 60, stating(31_536_000.0)), Ok(110.0));
    let end = fixture.respond(100.0, 60, stating(1_160.0)).unwrap();
    assert!((159.9..=160.0).contains(&end), "{end}");
    // As the first of all, it is recognized once its grant has expired.
    let mut fixture = Fixture::new();
    assert_eq!(fixture.respond(0.0, 60, stating(31_536_000.0)), Ok(60.0));
    for at in [50.0, 54.0, 58.0] {
        assert_eq!(fixture.respond(at, 60, stating(1_060.0 + at)), unchanged(), "{at}");
    }
    assert!(fixture.respond(60.5, 60, stating(1_120.0)).is_ok());
    assert!(fixture.respond(110.0, 60, stating(1_170.0)).is_ok());
}

#[test]
fn stepped_upstream_clock_recovers_after_expiry() {
    for step in [-3_600.0, 3_600.0] {
        let mut fixture = Fixture::new();
        assert_eq!(fixture.respond(0.0, 60, stating(10_060.0)), Ok(60.0));
        let mut accepted = Vec::new();
        for at in [50.0, 52.0, 54.0, 56.0, 58.0, 60.5, 110.0, 160.0] {
            if fixture.respond(at, 60, stating(10_060.0 + at + step)).is_ok() {
                accepted.push(at);
            }
        }
        assert!(
            accepted.contains(&60.5) && accepted.ends_with(&[110.0, 160.0]),
            "{step}: {accepted:?}"
        );
        assert!(
            step > 0.0 || accepted.len() == 3,
            "before the expiry a cache looks the same: {accepted:?}"
        );
    }
}

#[test]
fn cached_grants_are_not_taken_for_a_stepped_clock() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.respond(0.0, 60, stating(1_060.0)), Ok(60.0));
    for turn in 0..100_u32 {
        let at = 61.0 + f64::from(turn) * 2.0;
        assert_eq!(fixture.respond(at, 60, stating(1_055.0)), unchanged(), "{at}");
    }
    for (turn, expires) in [1_050.0, 1_045.0, 1_040.0, 1_051.0].into_iter().enumerate() {
        let at = 300.0 + f64::from(u32::try_from(turn).unwrap()) * 10.0;
        assert_eq!(fixture.respond(at, 60, stating(expires)), unchanged(), "{expires}");
    }
}

#[test]
fn same_credential_lives_as_long_as_responses_state() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.state(0.0, 3_600, opaque("a")), Ok((Change::New, 3_600.0)));
    // A sliding life: each response states the full life again.
    assert_eq!(fixture.state(3_000.0, 3_600, opaque("a")), Ok((Change::Extended, 6_600.0)));
    // Shortened, as by an operator: the shorter statement is correct.
    assert_eq!(fixture.state(4_000.0, 600, opaque("a")), Ok((Change::Shortened, 4_600.0)));
    assert_eq!(fixture.state(4_100.0, 600, opaque("a")), Ok((Change::Extended, 4_700.0)));
    // A new grant is compared with the expiry as it is now.
    assert_eq!(fixture.state(4_200.0, 499, opaque("b")), Err("GRANT_ENDS_SOONER".into()));
    assert_eq!(fixture.state(4_201.0, 499, opaque("c")), Ok((Change::New, 4_700.0)));
    // A previous grant is no successor, whatever it states.
    assert_eq!(fixture.state(4_300.0, 3_600, opaque("a")), unchanged());
    // The current grant is not extended by a response that does not state a life.
    assert_eq!(fixture.respond(4_400.0, 3_600, opaque("c")), unchanged());
    // After its expiry, it may be extended again, to what is stated.
    assert_eq!(fixture.state(5_000.0, 60, opaque("c")), Ok((Change::Extended, 5_060.0)));
}

#[test]
fn restating_the_same_expiry_is_no_new_life() {
    let mut fixture = Fixture::new();
    assert_eq!(fixture.state(0.0, 7_200, opaque("a")), Ok((Change::New, 7_200.0)));
    for turn in 1..70_u32 {
        let (at, since) = (u64::from(turn) * 100, f64::from(turn) * 100.0);
        // Rounded in either direction, and counted from before or after a slow response.
        for ttl in [7_200 - at - 2, 7_200 - at - 1, 7_200 - at, 7_200 - at + 1, 7_200 - at + 2] {
            assert_eq!(fixture.state(since, ttl, opaque("a")), unchanged(), "{at} {ttl}");
        }
    }
    assert_eq!(fixture.state(7_000.0, 7_200, opaque("b")), Ok((Change::New, 14_200.0)));
}

#[test]
fn credential_with_its_own_expiry_is_not_extended() {
    // A cache returns an old response: its token expires when it did.
    let mut fixture = Fixture::new();
    assert_eq!(fixture.state(0.0, 3_600, stating(3_600.0)), Ok((Change::New, 3_600.0)));
    for at in [600.0, 3_000.0, 3_590.0] {
        assert_eq!(fixture.state(at, 3_600, stating(3_600.0)), unchanged(), "{at}");
    }
    let cut = fixture.state(3_000.0, 60, stating(3_600.0));
    assert_eq!(cut, Ok((Change::Shortened, 3_060.0)));
}

#[test]
fn huge_stated_life_does_not_overflow() {
    let mut fixture = Fixture::new();
    for (at, mark) in [(0.0, stating(60.0)), (1.0, stating(1e300)), (2.0, stating(1e300))] {
        let _ = fixture.check(at, Granted::Stated(Duration::MAX), mark, false);
    }
}

#[test]
fn unpublished_grant_may_be_returned_again() {
    let mut fixture = Fixture::new();
    let (content, anchor) = (Content::from("{}"), fixture.start);
    let fetched =
        Fetched { content, anchor, granted: Granted::Assumed(secs(60)), mark: opaque("a") };
    let _ = fixture.lineage.check(&fetched, None).unwrap();
    assert_eq!(fixture.respond(0.0, 60, opaque("a")), Ok(60.0));
    assert_eq!(fixture.respond(1.0, 60, opaque("a")), unchanged());
}

proptest! {
    /// Whatever a healthy upstream's clock, rounding and latency are, only rounding and latency
    /// shorten a life.
    #[test]
    fn healthy_upstream_loses_almost_no_life(
        offset in -1e9..1e9_f64,
        latencies in prop::collection::vec(0.0..0.5_f64, 1..40),
    ) {
        let mut fixture = Fixture::new();
        for (turn, latency) in latencies.iter().enumerate() {
            let at = 50.0 * f64::from(u32::try_from(turn).unwrap());
            let expires = (at + latency + offset).floor() + 60.0;
            let end = fixture.respond(at, 60, stating(expires)).unwrap();
            prop_assert!(end <= at + 60.0 && end >= at + 59.4, "{end} at {at}");
        }
    }

    #[test]
    fn stated_expiry_never_panics(ends in prop::collection::vec(any::<f64>(), 1..10)) {
        let mut fixture = Fixture::new();
        for (turn, end) in ends.iter().enumerate() {
            let _ = fixture.respond(f64::from(u32::try_from(turn).unwrap()), 60, stating(*end));
        }
    }
}
