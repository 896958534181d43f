//! When to refresh: pure arithmetic over lives, without a clock or randomness of its own.

use std::time::Duration;

use crate::source::backoff::{MAX_BACKOFF, MIN_BACKOFF};

/// The widest that a schedule is drawn towards earlier.
pub const JITTER: f64 = 0.10;

/// The shortest first cycle after a start, as a share of a full one, so that resources and
/// replicas spread.
const FIRST_CYCLE: f64 = 0.3;

/// Timers come up to this much late.
const LATE_TIMER: Duration = Duration::from_millis(200);

/// The last try has this much time beyond the longest attempt.
const SPARE: Duration = Duration::from_secs(1);

/// No life is reckoned to be longer: what an upstream states is not ours to trust.
const LONGEST_LIFE: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// Kept free between the refresh point and the end of life, so that three attempts that may
/// take so long fit, with the shortest pauses between them.
fn three_attempts(attempt: Duration) -> Duration {
    attempt * 3 + MIN_BACKOFF * 2
}

/// Who decides how long grants live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lives {
    /// Requests ask for this life.
    Asked(Duration),
    /// Each answer says.
    Told,
}

/// Where in its life a grant is refreshed: never so late that three attempts do not fit, and
/// never in its first quarter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Point {
    /// After this share of its life.
    Share(f64),
    /// So long after it was asked for.
    After(Duration),
    /// So that every token has at least this much left when it is handed out, two attempts
    /// included.
    Promise(Duration),
}

/// When to refresh grants of one profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Who decides how long they live.
    pub lives: Lives,
    /// Kept in hand for clocks and the way to the player.
    pub margin: Duration,
    /// The longest that an attempt may take: the source's own limit.
    pub attempt: Duration,
    /// The point of refresh.
    pub point: Point,
}

impl Policy {
    /// The life that grants are asked for; none where nothing asks for one.
    #[must_use]
    pub const fn grant_ttl(&self) -> Option<Duration> {
        match self.lives {
            Lives::Asked(ttl) => Some(ttl),
            Lives::Told => None,
        }
    }

    /// The shortest grant, in whole seconds, that can be kept fresh with this margin by
    /// attempts that may take so long.
    #[must_use]
    pub fn least_grant_ttl(margin: Duration, attempt: Duration) -> Duration {
        let least = (margin + three_attempts(attempt)).mul_f64(4.0 / 3.0);
        Duration::from_secs(least.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX))
    }

    /// Kept free before the end of life, so that three attempts fit.
    #[must_use]
    pub fn three_attempts(&self) -> Duration {
        three_attempts(self.attempt)
    }

    /// How long before the end of life the last try is made, whatever the upstream asked.
    #[must_use]
    pub fn last_try(&self) -> Duration {
        self.attempt + SPARE
    }

    /// The longest pause between attempts, with `left` to the end of life: a quarter of that,
    /// and none that takes the place of one of the last two full attempts.
    #[must_use]
    pub fn longest_pause(&self, left: Duration) -> Duration {
        let quarter = left / 4;
        // The attempts that fit.
        let fitting = left.as_millis() / (self.attempt + LATE_TIMER).as_millis();
        let pause = match fitting {
            1 => quarter.min(left.saturating_sub(self.attempt)),
            2 => quarter.min((left / 2).saturating_sub(self.attempt)),
            _ => quarter,
        };
        pause.clamp(MIN_BACKOFF, MAX_BACKOFF)
    }

    /// The earliest point in a grant of `ttl`.
    #[must_use]
    pub fn earliest_point(&self, ttl: Duration) -> Duration {
        ttl / 4
    }

    /// The latest point at which three attempts still fit in a grant of `ttl`.
    #[must_use]
    pub fn latest_point(&self, ttl: Duration) -> Duration {
        ttl.saturating_sub(self.margin + self.three_attempts())
    }

    /// The most that can be promised of grants of `ttl`.
    #[must_use]
    pub fn longest_promise(&self, ttl: Duration) -> Duration {
        ttl.saturating_sub(self.earliest_point(ttl) + self.margin + self.attempt * 2)
    }

    /// The refresh point in a grant that was granted `ttl`. Where another life was asked for, it
    /// lies at the same share of the life as in a grant of that.
    #[must_use]
    pub fn point(&self, ttl: Duration) -> Duration {
        let ttl = ttl.min(LONGEST_LIFE);
        let wanted = match self.lives {
            Lives::Told => self.wanted_point(ttl),
            Lives::Asked(asked) => {
                let asked = asked.min(LONGEST_LIFE);
                let share = ttl.as_secs_f64() / asked.as_secs_f64().max(1.0);
                self.wanted_point(asked).mul_f64(share)
            }
        };
        self.earliest_point(ttl).max(wanted.min(self.latest_point(ttl)))
    }

    /// The refresh point in a grant of the life asked for; none where nothing asks for one.
    #[must_use]
    pub fn usual_point(&self) -> Option<Duration> {
        self.grant_ttl().map(|ttl| self.point(ttl))
    }

    /// The point that is configured, in a grant of `ttl`.
    fn wanted_point(&self, ttl: Duration) -> Duration {
        let point = match self.point {
            Point::Share(share) => ttl.mul_f64(share.clamp(0.0, 1.0)),
            Point::After(point) => point,
            Point::Promise(promise) => {
                ttl.saturating_sub((self.margin + self.attempt * 2).saturating_add(promise))
            }
        };
        point.min(self.latest_point(ttl))
    }

    /// The refresh point with a draw from 0 to 1: up to a tenth earlier, never later.
    #[must_use]
    pub fn drawn_point(&self, ttl: Duration, draw: f64) -> Duration {
        self.point(ttl).mul_f64(1.0 - JITTER * draw)
    }

    /// The refresh point of the first cycle after a start, with a draw from 0 to 1.
    #[must_use]
    pub fn first_point(&self, ttl: Duration, draw: f64) -> Duration {
        self.point(ttl).mul_f64(FIRST_CYCLE + (1.0 - FIRST_CYCLE) * draw)
    }

    /// The least life that a token has when a healthy profile hands it out; none where that
    /// depends on the life that the upstream grants.
    #[must_use]
    pub fn worst_hand_out(&self) -> Option<Duration> {
        let ttl = self.grant_ttl()?;
        Some(ttl.saturating_sub(self.margin + self.point(ttl) + self.attempt))
    }

    /// Upstream requests a minute for each resource, in the mean; none where that depends on the
    /// life that the upstream grants.
    #[must_use]
    pub fn calls_a_minute(&self) -> Option<f64> {
        Some(60.0 / (self.usual_point()?.as_secs_f64() * (1.0 - JITTER / 2.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    const USUAL: Point = Point::Share(5.0 / 6.0);

    fn asked(grant_ttl: u64, attempt: u64, point: Point) -> Policy {
        let lives = Lives::Asked(secs(grant_ttl));
        Policy { lives, margin: secs(2), attempt: secs(attempt), point }
    }

    fn told(point: Point) -> Policy {
        Policy { lives: Lives::Told, margin: secs(2), attempt: secs(2), point }
    }

    #[test]
    fn a_grant_is_refreshed_so_that_three_attempts_fit() {
        let policy = asked(60, 2, Point::Share(50.0 / 60.0));
        let cases = [(60, 50_000), (30, 21_500), (15, 6_500), (12, 3_500), (8, 2_000), (4, 1_000)];
        for (granted, point) in cases {
            assert_eq!(policy.point(secs(granted)), millis(point), "{granted} s");
        }
    }

    #[test]
    fn three_full_attempts_fit_after_the_latest_point_whatever_is_drawn() {
        // The longest pauses; timers come a millisecond late.
        for attempt in 1..=10 {
            let policy = asked(600, attempt, USUAL);
            for point in 0..=1_500 {
                let mut left = policy.three_attempts() + millis(1_500 - point);
                for _ in 0..2 {
                    left = left.saturating_sub(policy.attempt);
                    left = left.saturating_sub(policy.longest_pause(left));
                    left = left.saturating_sub(millis(1));
                }
                let short = policy.attempt.saturating_sub(left);
                assert!(short <= millis(10), "{attempt} s, {point}: {short:?}");
            }
        }
    }

    #[test]
    fn the_default_point_of_a_shorter_grant_leaves_room_for_three_attempts_too() {
        assert_eq!(asked(30, 2, USUAL).usual_point(), Some(millis(21_500)));
        assert_eq!(asked(30, 2, Point::Share(0.5)).usual_point(), Some(secs(15)));
        assert_eq!(Policy::least_grant_ttl(secs(2), secs(2)), secs(12));
        assert_eq!(Policy::least_grant_ttl(secs(5), secs(2)), secs(16));
    }

    #[test]
    fn what_a_profile_promises_is_what_is_left_at_the_last_hand_out() {
        assert_eq!(asked(60, 2, USUAL).worst_hand_out(), Some(secs(6)));
        assert_eq!(asked(60, 2, Point::After(secs(30))).worst_hand_out(), Some(secs(26)));
        let promised = asked(60, 2, Point::Promise(secs(20)));
        assert_eq!(promised.usual_point(), Some(secs(34)));
        assert!(promised.worst_hand_out() >= Some(secs(20)));
    }

    #[test]
    fn all_follows_from_how_long_an_attempt_may_take() {
        let usual = asked(60, 2, USUAL);
        assert_eq!(usual.three_attempts(), millis(6_500));
        assert_eq!((usual.last_try(), usual.longest_promise(secs(60))), (secs(3), secs(39)));

        let slow = asked(120, 10, USUAL);
        assert_eq!(Policy::least_grant_ttl(slow.margin, slow.attempt), secs(44));
        assert_eq!(slow.usual_point(), Some(millis(87_500)));
        assert_eq!((slow.last_try(), slow.longest_promise(secs(120))), (secs(11), secs(68)));
        let promised = asked(120, 10, Point::Promise(secs(20)));
        assert_eq!(promised.usual_point(), Some(secs(78)));
        assert_eq!(promised.worst_hand_out(), Some(secs(30)));
    }

    #[test]
    fn the_point_of_a_life_that_the_answer_tells_follows_from_that_life() {
        let of = |point, ttl| told(point).point(secs(ttl)).as_millis();
        for (ttl, five_sixths, half) in [
            (30, 21_500, 15_000),
            (3_600, 3_000_000, 1_800_000),
            (86_400, 72_000_000, 43_200_000),
            (8, 2_000, 2_000),
        ] {
            assert_eq!((of(USUAL, ttl), of(Point::Share(0.5), ttl)), (five_sixths, half), "{ttl}");
        }
        // A duration stays what it is, between a quarter of the life and three attempts.
        let after = Point::After(secs(600));
        for (ttl, point) in [(3_600, 900_000), (1_200, 600_000), (300, 291_500)] {
            assert_eq!(of(after, ttl), point, "{ttl}");
        }
        let promise = Point::Promise(secs(600));
        for (ttl, point) in [(3_600, 2_994_000), (700, 175_000), (60, 15_000)] {
            assert_eq!(of(promise, ttl), point, "{ttl}");
        }
    }

    #[test]
    fn of_a_life_that_the_answer_tells_nothing_is_known_before_it() {
        for point in [USUAL, Point::After(secs(30)), Point::Promise(secs(20))] {
            let policy = told(point);
            assert_eq!((policy.grant_ttl(), policy.usual_point()), (None, None));
            assert_eq!((policy.worst_hand_out(), policy.calls_a_minute()), (None, None));
        }
    }

    #[test]
    fn no_life_and_no_point_is_too_long_to_reckon_with() {
        for point in [USUAL, Point::After(Duration::MAX), Point::Promise(Duration::MAX)] {
            for lives in [Lives::Told, Lives::Asked(Duration::MAX), Lives::Asked(Duration::ZERO)] {
                let policy = Policy { lives, ..told(point) };
                for ttl in [Duration::ZERO, secs(1), Duration::MAX] {
                    assert!(policy.drawn_point(ttl, 1.0) <= LONGEST_LIFE, "{policy:?} {ttl:?}");
                }
            }
        }
    }

    #[test]
    fn jitter_only_goes_towards_earlier_and_the_first_cycle_spreads() {
        let policy = asked(60, 2, USUAL);
        assert_eq!(policy.drawn_point(secs(60), 0.0), secs(50));
        assert_eq!(policy.drawn_point(secs(60), 1.0), secs(45));
        assert_eq!(policy.first_point(secs(60), 0.0), secs(15));
        assert_eq!(policy.first_point(secs(60), 1.0), secs(50));
        assert!((policy.calls_a_minute().unwrap() - 1.263).abs() < 0.001);
    }
}
