//! When to refresh: pure arithmetic over lives, without a clock or randomness of its own.

use std::time::Duration;

use crate::source::budget::{MAX_BACKOFF, MIN_BACKOFF};

/// The default refresh point, as a share of the grant's life: 50 s of 60 s.
const DEFAULT_POINT: f64 = 50.0 / 60.0;

/// The widest that a schedule is drawn towards earlier.
pub const JITTER: f64 = 0.10;

/// The shortest first cycle after a start, as a share of a full one, so that resources and
/// replicas spread.
const FIRST_CYCLE: f64 = 0.3;

/// Timers come up to this much late.
const LATE_TIMER: Duration = Duration::from_millis(200);

/// The last try has this much time beyond the longest attempt.
const SPARE: Duration = Duration::from_secs(1);

/// Kept free between the refresh point and the end of life, so that three attempts that may
/// take so long fit, with the shortest pauses between them.
fn three_attempts(attempt: Duration) -> Duration {
    attempt * 3 + MIN_BACKOFF * 2
}

/// When to refresh grants of one profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The life that grants are asked for.
    pub grant_ttl: Duration,
    /// Kept in hand for clocks and the way to the player.
    pub margin: Duration,
    /// The longest that an attempt may take: the source's own limit.
    pub attempt: Duration,
    /// The point of refresh in a grant of the life asked for.
    pub refresh_after: Duration,
}

impl Policy {
    /// The policy of a profile that names no refresh point.
    #[must_use]
    pub fn new(grant_ttl: Duration, margin: Duration, attempt: Duration) -> Self {
        let policy = Self { grant_ttl, margin, attempt, refresh_after: grant_ttl };
        let point = grant_ttl.mul_f64(DEFAULT_POINT).min(policy.latest_point(grant_ttl));
        Self { refresh_after: point, ..policy }
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

    /// The earliest point that a profile may name.
    #[must_use]
    pub fn earliest_point(&self) -> Duration {
        self.grant_ttl / 4
    }

    /// The latest point at which three attempts still fit in a grant of `ttl`.
    #[must_use]
    pub fn latest_point(&self, ttl: Duration) -> Duration {
        ttl.saturating_sub(self.margin + self.three_attempts())
    }

    /// The refresh point from which it follows that every token has at least `promise` left
    /// when it is handed out, two attempts included.
    #[must_use]
    pub fn point_for_promise(&self, promise: Duration) -> Duration {
        let point = self.grant_ttl.saturating_sub(self.margin + promise + self.attempt * 2);
        point.min(self.latest_point(self.grant_ttl))
    }

    /// The most that can be promised.
    #[must_use]
    pub fn longest_promise(&self) -> Duration {
        self.grant_ttl.saturating_sub(self.earliest_point() + self.margin + self.attempt * 2)
    }

    /// The refresh point in a grant that was granted `ttl`, which may not be what was asked.
    #[must_use]
    pub fn point(&self, ttl: Duration) -> Duration {
        let share = ttl.as_secs_f64() / self.grant_ttl.as_secs_f64().max(f64::MIN_POSITIVE);
        let proportional = self.refresh_after.mul_f64(share);
        (ttl / 4).max(proportional.min(self.latest_point(ttl)))
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

    /// The least life that a token has when a healthy profile hands it out.
    #[must_use]
    pub fn worst_hand_out(&self) -> Duration {
        self.grant_ttl.saturating_sub(self.margin + self.point(self.grant_ttl) + self.attempt)
    }

    /// Upstream requests a minute for each resource, in the mean.
    #[must_use]
    pub fn calls_a_minute(&self) -> f64 {
        60.0 / (self.point(self.grant_ttl).as_secs_f64() * (1.0 - JITTER / 2.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn policy(grant_ttl: u64) -> Policy {
        Policy::new(secs(grant_ttl), secs(2), secs(2))
    }

    #[test]
    fn a_grant_is_refreshed_so_that_three_attempts_fit() {
        let policy = policy(60);
        let cases = [(60, 50_000), (30, 21_500), (15, 6_500), (12, 3_500), (8, 2_000), (4, 1_000)];
        for (granted, point) in cases {
            assert_eq!(policy.point(secs(granted)), Duration::from_millis(point), "{granted} s");
        }
    }

    #[test]
    fn three_full_attempts_fit_after_the_latest_point_whatever_is_drawn() {
        // The longest pauses; timers come a millisecond late.
        for attempt in 1..=10 {
            let policy = Policy::new(secs(600), secs(2), secs(attempt));
            for point in 0..=1_500 {
                let mut left = policy.three_attempts() + Duration::from_millis(1_500 - point);
                for _ in 0..2 {
                    left = left.saturating_sub(policy.attempt);
                    left = left.saturating_sub(policy.longest_pause(left));
                    left = left.saturating_sub(Duration::from_millis(1));
                }
                let short = policy.attempt.saturating_sub(left);
                assert!(short <= Duration::from_millis(10), "{attempt} s, {point}: {short:?}");
            }
        }
    }

    #[test]
    fn the_default_point_of_a_shorter_grant_leaves_room_for_three_attempts_too() {
        assert_eq!(policy(30).refresh_after, Duration::from_millis(21_500));
        assert_eq!(Policy::least_grant_ttl(secs(2), secs(2)), secs(12));
        assert_eq!(Policy::least_grant_ttl(secs(5), secs(2)), secs(16));
    }

    #[test]
    fn what_a_profile_promises_is_what_is_left_at_the_last_hand_out() {
        assert_eq!(policy(60).worst_hand_out(), secs(6));
        let half = Policy { refresh_after: secs(30), ..policy(60) };
        assert_eq!(half.worst_hand_out(), secs(26));
        let point = policy(60).point_for_promise(secs(20));
        assert_eq!(point, secs(34));
        let promised = Policy { refresh_after: point, ..policy(60) };
        assert!(promised.worst_hand_out() >= secs(20));
    }

    #[test]
    fn all_follows_from_how_long_an_attempt_may_take() {
        let usual = policy(60);
        assert_eq!(usual.three_attempts(), Duration::from_millis(6_500));
        assert_eq!((usual.last_try(), usual.longest_promise()), (secs(3), secs(39)));

        let slow = Policy::new(secs(120), secs(2), secs(10));
        assert_eq!(Policy::least_grant_ttl(slow.margin, slow.attempt), secs(44));
        assert_eq!(slow.refresh_after, Duration::from_millis(87_500));
        assert_eq!((slow.last_try(), slow.longest_promise()), (secs(11), secs(68)));
        let promised = Policy { refresh_after: slow.point_for_promise(secs(20)), ..slow };
        assert_eq!(promised.refresh_after, secs(78));
        assert_eq!(promised.worst_hand_out(), secs(30));
    }

    #[test]
    fn jitter_only_goes_towards_earlier_and_the_first_cycle_spreads() {
        let policy = policy(60);
        assert_eq!(policy.drawn_point(secs(60), 0.0), secs(50));
        assert_eq!(policy.drawn_point(secs(60), 1.0), secs(45));
        assert_eq!(policy.first_point(secs(60), 0.0), secs(15));
        assert_eq!(policy.first_point(secs(60), 1.0), secs(50));
        assert!((policy.calls_a_minute() - 1.263).abs() < 0.001);
    }
}
