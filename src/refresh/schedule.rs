//! When to refresh: pure arithmetic on grant lives, without a clock or randomness of its own.

use std::time::Duration;

use crate::source::backoff::{MAX_BACKOFF, MIN_BACKOFF};

/// The largest share by which a refresh point is drawn earlier.
pub const JITTER: f64 = 0.10;

/// The shortest first cycle after a start, as a share of a full cycle. It spreads resources and
/// replicas.
const FIRST_CYCLE: f64 = 0.3;

/// Timers fire up to this much late.
const LATE_TIMER: Duration = Duration::from_millis(200);

/// The last try has this much time in addition to the longest attempt.
const SPARE: Duration = Duration::from_secs(1);

/// Longer lives count as this: an upstream's statement is not trusted.
const LONGEST_LIFE: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// The time between the refresh point and the end of life that three attempts of the longest
/// duration need, with the shortest pauses between them.
fn three_attempts(attempt: Duration) -> Duration {
    attempt * 3 + MIN_BACKOFF * 2
}

/// What sets the life of grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantLife {
    /// Requests ask for this life.
    Requested(Duration),
    /// Each response reports it.
    Reported,
}

/// When in its life a grant is refreshed. It is never so late that three attempts do not fit,
/// and never in the first quarter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Point {
    /// After this share of its life.
    Share(f64),
    /// This long after the request for it.
    After(Duration),
    /// Early enough that every token is issued with at least this much validity, even when the
    /// first of two attempts fails.
    Promise(Duration),
}

/// When to refresh grants of one profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// What sets their life.
    pub life: GrantLife,
    /// Reserve for clock differences and the delivery to the player.
    pub margin: Duration,
    /// The longest duration of an attempt: the source's own limit.
    pub attempt: Duration,
    /// The refresh point.
    pub point: Point,
}

impl Policy {
    /// The life that requests ask for; none where responses report it.
    #[must_use]
    pub const fn grant_ttl(&self) -> Option<Duration> {
        match self.life {
            GrantLife::Requested(ttl) => Some(ttl),
            GrantLife::Reported => None,
        }
    }

    /// The shortest grant life, in whole seconds, that can be refreshed in time with this margin
    /// and attempts of this duration.
    #[must_use]
    pub fn least_grant_ttl(margin: Duration, attempt: Duration) -> Duration {
        let least = (margin + three_attempts(attempt)).mul_f64(4.0 / 3.0);
        Duration::from_secs(least.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX))
    }

    /// The time before the end of life that three attempts need.
    #[must_use]
    pub fn three_attempts(&self) -> Duration {
        three_attempts(self.attempt)
    }

    /// How long before the end of life the last try starts, whatever wait the upstream requested.
    #[must_use]
    pub fn last_try(&self) -> Duration {
        self.attempt + SPARE
    }

    /// The longest pause between attempts when `left` remains to the end of life: a quarter of
    /// that, but never so long that one of the last two full attempts no longer fits.
    #[must_use]
    pub fn longest_pause(&self, left: Duration) -> Duration {
        let quarter = left / 4;
        // The number of attempts that fit.
        let fitting = left.as_millis() / (self.attempt + LATE_TIMER).as_millis();
        let pause = match fitting {
            1 => quarter.min(left.saturating_sub(self.attempt)),
            2 => quarter.min((left / 2).saturating_sub(self.attempt)),
            _ => quarter,
        };
        pause.clamp(MIN_BACKOFF, MAX_BACKOFF)
    }

    /// The earliest refresh point of a grant of `ttl`.
    #[must_use]
    pub fn earliest_point(&self, ttl: Duration) -> Duration {
        ttl / 4
    }

    /// The latest refresh point of a grant of `ttl`: three attempts still fit after it.
    #[must_use]
    pub fn latest_point(&self, ttl: Duration) -> Duration {
        ttl.saturating_sub(self.margin + self.three_attempts())
    }

    /// The longest promise that grants of `ttl` can keep.
    #[must_use]
    pub fn longest_promise(&self, ttl: Duration) -> Duration {
        ttl.saturating_sub(self.earliest_point(ttl) + self.margin + self.attempt * 2)
    }

    /// The refresh point of a grant of `ttl`. Where a different life was requested, the point lies
    /// at the same share of the life as in a grant of the requested life.
    #[must_use]
    pub fn point(&self, ttl: Duration) -> Duration {
        let ttl = ttl.min(LONGEST_LIFE);
        let wanted = match self.life {
            GrantLife::Reported => self.wanted_point(ttl),
            GrantLife::Requested(requested) => {
                let requested = requested.min(LONGEST_LIFE);
                let share = ttl.as_secs_f64() / requested.as_secs_f64().max(1.0);
                self.wanted_point(requested).mul_f64(share)
            }
        };
        self.earliest_point(ttl).max(wanted.min(self.latest_point(ttl)))
    }

    /// The refresh point of a grant of the requested life; none where responses report the life.
    #[must_use]
    pub fn usual_point(&self) -> Option<Duration> {
        self.grant_ttl().map(|ttl| self.point(ttl))
    }

    /// The configured point of a grant of `ttl`.
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

    /// The refresh point for a draw from 0 to 1: up to a tenth earlier, never later.
    #[must_use]
    pub fn drawn_point(&self, ttl: Duration, draw: f64) -> Duration {
        self.point(ttl).mul_f64(1.0 - JITTER * draw)
    }

    /// The refresh point of the first cycle after a start, for a draw from 0 to 1.
    #[must_use]
    pub fn first_point(&self, ttl: Duration, draw: f64) -> Duration {
        self.point(ttl).mul_f64(FIRST_CYCLE + (1.0 - FIRST_CYCLE) * draw)
    }

    /// The shortest validity of a token that a healthy profile issues; none where responses
    /// report the life.
    #[must_use]
    pub fn shortest_validity(&self) -> Option<Duration> {
        let ttl = self.grant_ttl()?;
        Some(ttl.saturating_sub(self.margin + self.point(ttl) + self.attempt))
    }

    /// The mean number of upstream requests per minute and resource; none where responses report
    /// the life.
    #[must_use]
    pub fn requests_per_minute(&self) -> Option<f64> {
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

    fn requested(grant_ttl: u64, attempt: u64, point: Point) -> Policy {
        let life = GrantLife::Requested(secs(grant_ttl));
        Policy { life, margin: secs(2), attempt: secs(attempt), point }
    }

    fn reported(point: Point) -> Policy {
        Policy { life: GrantLife::Reported, margin: secs(2), attempt: secs(2), point }
    }

    #[test]
    fn refresh_point_leaves_room_for_three_attempts() {
        let policy = requested(60, 2, Point::Share(50.0 / 60.0));
        let cases = [(60, 50_000), (30, 21_500), (15, 6_500), (12, 3_500), (8, 2_000), (4, 1_000)];
        for (granted, point) in cases {
            assert_eq!(policy.point(secs(granted)), millis(point), "{granted} s");
        }
    }

    #[test]
    fn three_full_attempts_fit_after_the_latest_point() {
        // The longest pauses; timers fire a millisecond late.
        for attempt in 1..=10 {
            let policy = requested(600, attempt, USUAL);
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
    fn default_point_of_a_short_grant_fits_three_attempts() {
        assert_eq!(requested(30, 2, USUAL).usual_point(), Some(millis(21_500)));
        assert_eq!(requested(30, 2, Point::Share(0.5)).usual_point(), Some(secs(15)));
        assert_eq!(Policy::least_grant_ttl(secs(2), secs(2)), secs(12));
        assert_eq!(Policy::least_grant_ttl(secs(5), secs(2)), secs(16));
    }

    #[test]
    fn shortest_validity_meets_the_promise() {
        assert_eq!(requested(60, 2, USUAL).shortest_validity(), Some(secs(6)));
        assert_eq!(requested(60, 2, Point::After(secs(30))).shortest_validity(), Some(secs(26)));
        let promised = requested(60, 2, Point::Promise(secs(20)));
        assert_eq!(promised.usual_point(), Some(secs(34)));
        assert!(promised.shortest_validity() >= Some(secs(20)));
    }

    #[test]
    fn limits_follow_from_the_attempt_duration() {
        let usual = requested(60, 2, USUAL);
        assert_eq!(usual.three_attempts(), millis(6_500));
        assert_eq!((usual.last_try(), usual.longest_promise(secs(60))), (secs(3), secs(39)));

        let slow = requested(120, 10, USUAL);
        assert_eq!(Policy::least_grant_ttl(slow.margin, slow.attempt), secs(44));
        assert_eq!(slow.usual_point(), Some(millis(87_500)));
        assert_eq!((slow.last_try(), slow.longest_promise(secs(120))), (secs(11), secs(68)));
        let promised = requested(120, 10, Point::Promise(secs(20)));
        assert_eq!(promised.usual_point(), Some(secs(78)));
        assert_eq!(promised.shortest_validity(), Some(secs(30)));
    }

    #[test]
    fn reported_life_sets_the_refresh_point() {
        let of = |point, ttl| reported(point).point(secs(ttl)).as_millis();
        for (ttl, five_sixths, half) in [
            (30, 21_500, 15_000),
            (3_600, 3_000_000, 1_800_000),
            (86_400, 72_000_000, 43_200_000),
            (8, 2_000, 2_000),
        ] {
            assert_eq!((of(USUAL, ttl), of(Point::Share(0.5), ttl)), (five_sixths, half), "{ttl}");
        }
        // A duration is kept, between a quarter of the life and room for three attempts.
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
    fn reported_life_is_unknown_before_a_response() {
        for point in [USUAL, Point::After(secs(30)), Point::Promise(secs(20))] {
            let policy = reported(point);
            assert_eq!((policy.grant_ttl(), policy.usual_point()), (None, None));
            assert_eq!((policy.shortest_validity(), policy.requests_per_minute()), (None, None));
        }
    }

    #[test]
    fn huge_lives_and_points_do_not_overflow() {
        for point in [USUAL, Point::After(Duration::MAX), Point::Promise(Duration::MAX)] {
            for life in [
                GrantLife::Reported,
                GrantLife::Requested(Duration::MAX),
                GrantLife::Requested(Duration::ZERO),
            ] {
                let policy = Policy { life, ..reported(point) };
                for ttl in [Duration::ZERO, secs(1), Duration::MAX] {
                    assert!(policy.drawn_point(ttl, 1.0) <= LONGEST_LIFE, "{policy:?} {ttl:?}");
                }
            }
        }
    }

    #[test]
    fn jitter_is_only_earlier_and_first_cycle_spreads() {
        let policy = requested(60, 2, USUAL);
        assert_eq!(policy.drawn_point(secs(60), 0.0), secs(50));
        assert_eq!(policy.drawn_point(secs(60), 1.0), secs(45));
        assert_eq!(policy.first_point(secs(60), 0.0), secs(15));
        assert_eq!(policy.first_point(secs(60), 1.0), secs(50));
        assert!((policy.requests_per_minute().unwrap() - 1.263).abs() < 0.001);
    }
}
