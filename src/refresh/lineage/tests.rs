//! Answers of caches, in the order in which they are met.

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

/// What the answers so far have led to, from one instant on.
struct World {
    lineage: Lineage,
    start: Anchor,
    present: Option<Life>,
}

impl World {
    fn new() -> Self {
        Self { lineage: Lineage::default(), start: Clock::system().now(), present: None }
    }

    /// The end, in seconds from the start, of what is present after an answer at `at` that
    /// claims to live for `ttl`.
    fn answer(&mut self, at: f64, ttl: u64, mark: Mark) -> Result<f64, String> {
        self.answer_after(at, ttl, mark, false)
    }

    fn answer_after(
        &mut self,
        at: f64,
        ttl: u64,
        mark: Mark,
        refused: bool,
    ) -> Result<f64, String> {
        self.judge(at, Granted::Assumed(secs(ttl)), mark, refused).map(|(_, end)| end)
    }

    /// The same for an answer that states itself what remains, and what it is.
    fn states(&mut self, at: f64, ttl: u64, mark: Mark) -> Result<(News, f64), String> {
        self.judge(at, Granted::Stated(secs(ttl)), mark, false)
    }

    fn judge(
        &mut self,
        at: f64,
        granted: Granted,
        mark: Mark,
        refused: bool,
    ) -> Result<(News, f64), String> {
        let since = Duration::from_secs_f64(at);
        let anchor = Anchor { boot: self.start.boot + since, wall: self.start.wall + since };
        let fetched = Fetched { content: Content::from("{}"), anchor, granted, mark };
        let present = self.present.map(|life| Present { life, refused });
        let judged = self.lineage.judge(&fetched, present);
        let admitted = judged.map_err(|fault| fault.reason.to_string())?;
        self.lineage.commit(admitted);
        let ttl = admitted.ttl;
        self.present = Some(Life { anchor, ttl, generation: Generation::NONE });
        Ok((admitted.news, (anchor.boot + ttl).since(self.start.boot).as_secs_f64()))
    }
}

/// The mark of a grant that states no end.
fn opaque(credential: &str) -> Mark {
    Mark::of(credential, None)
}

/// The mark of one that ends at `expires`.
fn stating(expires: f64) -> Mark {
    Mark::of(&expires.to_string(), Some(expires))
}

fn unchanged<T>() -> Result<T, String> {
    Err("GRANT_UNCHANGED".into())
}

#[test]
fn the_same_grant_again_moves_no_end_even_after_its_end() {
    let mut world = World::new();
    assert_eq!(world.answer(0.0, 60, opaque("a")), Ok(60.0));
    for at in [10.0, 50.0, 61.0, 200.0] {
        assert_eq!(world.answer(at, 60, opaque("a")), unchanged(), "{at}");
    }
}

#[test]
fn caches_that_answer_in_turn_with_former_grants_are_seen_through() {
    let mut world = World::new();
    assert_eq!(world.answer(0.0, 60, opaque("a")), Ok(60.0));
    assert_eq!(world.answer(50.0, 60, opaque("b")), Ok(110.0));
    assert_eq!(world.answer(100.0, 60, opaque("a")), unchanged());
    assert_eq!(world.answer(120.0, 60, opaque("b")), unchanged());
    assert_eq!(world.answer(121.0, 60, opaque("c")), Ok(181.0));
}

#[test]
fn another_grant_that_states_no_later_end_is_no_success() {
    let mut world = World::new();
    assert_eq!(world.answer(0.0, 60, stating(1_060.0)), Ok(60.0));
    assert_eq!(world.answer(50.0, 60, stating(1_059.0)), unchanged());
    assert_eq!(world.answer(70.0, 60, Mark::of("other", Some(1_060.0))), unchanged());
    assert_eq!(world.answer(71.0, 60, stating(1_131.0)), Ok(131.0));
}

#[test]
fn the_end_moves_no_further_than_what_the_grants_state() {
    let mut world = World::new();
    assert_eq!(world.answer(0.0, 60, stating(1_060.0)), Ok(60.0));
    // A cache fetched it 30 s ago.
    let end = world.answer(50.0, 60, stating(1_080.0)).unwrap();
    assert!((81.0..81.1).contains(&end), "{end}");
}

#[test]
fn a_cache_that_is_always_late_gains_nothing_in_an_hour() {
    let mut world = World::new();
    assert_eq!(world.answer(0.0, 60, stating(1_060.0)), Ok(60.0));
    for turn in 1..=120_u32 {
        let at = f64::from(turn) * 30.0;
        // Each answer is 20 s old, so that it ends 40 s after it came.
        let end = world.answer(at, 60, stating(1_040.0 + at)).unwrap();
        assert!(end <= at + 40.0 + 1.0 + at * 0.001, "{turn}: {end} at {at}");
        assert!(end >= at + 40.0, "{turn}: {end} at {at}");
    }
}

#[test]
fn a_grant_that_would_end_sooner_replaces_only_one_that_its_player_refused() {
    let mut world = World::new();
    assert_eq!(world.answer(0.0, 60, opaque("a")), Ok(60.0));
    assert_eq!(world.answer(16.0, 4, opaque("b")), Err("GRANT_ENDS_SOONER".into()));
    // What was not taken may be later, but with no more life than it had at first.
    assert_eq!(world.answer_after(17.0, 4, opaque("b"), true), Ok(20.0));
    assert_eq!(world.answer(18.0, 60, opaque("c")), Ok(78.0));
    assert_eq!(world.answer_after(19.0, 60, opaque("a"), true), unchanged());
    assert_eq!(world.answer_after(20.0, 60, opaque("c"), true), unchanged());
}

#[test]
fn a_refused_grant_gives_way_to_one_that_states_an_earlier_end() {
    let mut world = World::new();
    assert_eq!(world.answer(0.0, 60, stating(1_060.0)), Ok(60.0));
    let end = world.answer_after(10.0, 60, stating(1_030.0), true).unwrap();
    assert!((30.9..=31.0).contains(&end), "{end}");
}

#[test]
fn one_end_that_is_far_ahead_is_no_measure_for_what_follows() {
    let mut world = World::new();
    assert_eq!(world.answer(0.0, 60, stating(1_060.0)), Ok(60.0));
    assert_eq!(world.answer(50.0, 60, stating(31_536_000.0)), Ok(110.0));
    let end = world.answer(100.0, 60, stating(1_160.0)).unwrap();
    assert!((159.9..=160.0).contains(&end), "{end}");
    // As the first of all it is known for what it is when its grant is dead.
    let mut world = World::new();
    assert_eq!(world.answer(0.0, 60, stating(31_536_000.0)), Ok(60.0));
    for at in [50.0, 54.0, 58.0] {
        assert_eq!(world.answer(at, 60, stating(1_060.0 + at)), unchanged(), "{at}");
    }
    assert!(world.answer(60.5, 60, stating(1_120.0)).is_ok());
    assert!(world.answer(110.0, 60, stating(1_170.0)).is_ok());
}

#[test]
fn an_upstream_whose_clock_was_stepped_serves_again_once_the_present_grant_is_dead() {
    for step in [-3_600.0, 3_600.0] {
        let mut world = World::new();
        assert_eq!(world.answer(0.0, 60, stating(10_060.0)), Ok(60.0));
        let mut taken = Vec::new();
        for at in [50.0, 52.0, 54.0, 56.0, 58.0, 60.5, 110.0, 160.0] {
            if world.answer(at, 60, stating(10_060.0 + at + step)).is_ok() {
                taken.push(at);
            }
        }
        assert!(taken.contains(&60.5) && taken.ends_with(&[110.0, 160.0]), "{step}: {taken:?}");
        assert!(step > 0.0 || taken.len() == 3, "before, a cache looks the same: {taken:?}");
    }
}

#[test]
fn former_grants_that_keep_no_step_are_never_taken_for_a_stepped_clock() {
    let mut world = World::new();
    assert_eq!(world.answer(0.0, 60, stating(1_060.0)), Ok(60.0));
    for turn in 0..100_u32 {
        let at = 61.0 + f64::from(turn) * 2.0;
        assert_eq!(world.answer(at, 60, stating(1_055.0)), unchanged(), "{at}");
    }
    for (turn, expires) in [1_050.0, 1_045.0, 1_040.0, 1_051.0].into_iter().enumerate() {
        let at = 300.0 + f64::from(u32::try_from(turn).unwrap()) * 10.0;
        assert_eq!(world.answer(at, 60, stating(expires)), unchanged(), "{expires}");
    }
}

#[test]
fn the_same_credential_lives_as_long_as_its_answers_state() {
    let mut world = World::new();
    assert_eq!(world.states(0.0, 3_600, opaque("a")), Ok((News::Another, 3_600.0)));
    // A sliding life: each answer states all of it again.
    assert_eq!(world.states(3_000.0, 3_600, opaque("a")), Ok((News::Extended, 6_600.0)));
    // Cut short, as by an operator: the shorter statement is the truth.
    assert_eq!(world.states(4_000.0, 600, opaque("a")), Ok((News::Shortened, 4_600.0)));
    assert_eq!(world.states(4_100.0, 600, opaque("a")), Ok((News::Extended, 4_700.0)));
    // Another one is held against the end as it is now.
    assert_eq!(world.states(4_200.0, 499, opaque("b")), Err("GRANT_ENDS_SOONER".into()));
    assert_eq!(world.states(4_201.0, 499, opaque("c")), Ok((News::Another, 4_700.0)));
    // A former one is no successor, whatever it states.
    assert_eq!(world.states(4_300.0, 3_600, opaque("a")), unchanged());
    // Nor does the present one live on where its answer does not say so.
    assert_eq!(world.answer(4_400.0, 3_600, opaque("c")), unchanged());
    // It may come back to life, and then the end is what is stated.
    assert_eq!(world.states(5_000.0, 60, opaque("c")), Ok((News::Extended, 5_060.0)));
}

#[test]
fn the_same_end_stated_again_is_no_new_life_however_often() {
    let mut world = World::new();
    assert_eq!(world.states(0.0, 7_200, opaque("a")), Ok((News::Another, 7_200.0)));
    for turn in 1..70_u32 {
        let (at, since) = (u64::from(turn) * 100, f64::from(turn) * 100.0);
        // Rounded in either direction, and counted from before or after a slow answer.
        for ttl in [7_200 - at - 2, 7_200 - at - 1, 7_200 - at, 7_200 - at + 1, 7_200 - at + 2] {
            assert_eq!(world.states(since, ttl, opaque("a")), unchanged(), "{at} {ttl}");
        }
    }
    assert_eq!(world.states(7_000.0, 7_200, opaque("b")), Ok((News::Another, 14_200.0)));
}

#[test]
fn a_credential_that_states_its_own_end_lives_no_longer_for_what_an_answer_states() {
    // A cache returns an answer as it was: its token ends when it ends.
    let mut world = World::new();
    assert_eq!(world.states(0.0, 3_600, stating(3_600.0)), Ok((News::Another, 3_600.0)));
    for at in [600.0, 3_000.0, 3_590.0] {
        assert_eq!(world.states(at, 3_600, stating(3_600.0)), unchanged(), "{at}");
    }
    let cut = world.states(3_000.0, 60, stating(3_600.0));
    assert_eq!(cut, Ok((News::Shortened, 3_060.0)));
}

#[test]
fn no_stated_life_is_too_long_to_reckon_with() {
    let mut world = World::new();
    for (at, mark) in [(0.0, stating(60.0)), (1.0, stating(1e300)), (2.0, stating(1e300))] {
        let _ = world.judge(at, Granted::Stated(Duration::MAX), mark, false);
    }
}

#[test]
fn a_grant_that_was_not_published_may_come_again() {
    let mut world = World::new();
    let (content, anchor) = (Content::from("{}"), world.start);
    let fetched =
        Fetched { content, anchor, granted: Granted::Assumed(secs(60)), mark: opaque("a") };
    let _ = world.lineage.judge(&fetched, None).unwrap();
    assert_eq!(world.answer(0.0, 60, opaque("a")), Ok(60.0));
    assert_eq!(world.answer(1.0, 60, opaque("a")), unchanged());
}

proptest! {
    /// Whatever a healthy upstream's clock, rounding and latency are, no life is lost to them
    /// but what rounding and latency take.
    #[test]
    fn a_healthy_upstream_loses_next_to_nothing(
        offset in -1e9..1e9_f64,
        latencies in prop::collection::vec(0.0..0.5_f64, 1..40),
    ) {
        let mut world = World::new();
        for (turn, latency) in latencies.iter().enumerate() {
            let at = 50.0 * f64::from(u32::try_from(turn).unwrap());
            let expires = (at + latency + offset).floor() + 60.0;
            let end = world.answer(at, 60, stating(expires)).unwrap();
            prop_assert!(end <= at + 60.0 && end >= at + 59.4, "{end} at {at}");
        }
    }

    #[test]
    fn no_stated_end_panics(ends in prop::collection::vec(any::<f64>(), 1..10)) {
        let mut world = World::new();
        for (turn, end) in ends.iter().enumerate() {
            let _ = world.answer(f64::from(u32::try_from(turn).unwrap()), 60, stating(*end));
        }
    }
}
