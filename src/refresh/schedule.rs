//! When to refresh: pure arithmetic over lives, without a clock or randomness of its own.

use std::time::Duration;

use crate::source::{
    budget::{MAX_BACKOFF, MIN_BACKOFF},
    http::EXCHANGE_TIMEOUT,
};

/// Kept free between the refresh point and the end of life, so that three attempts fit.
pub(super) const THREE_ATTEMPTS: Duration = Duration::from_millis(6_500);

/// The default refresh point, as a share of the grant's life: 50 s of 60 s.
const DEFAULT_POINT: f64 = 50.0 / 60.0;

/// The widest that a schedule is drawn towards earlier.
pub const JITTER: f64 = 0.10;

/// The shortest first cycle after a start, as a share of a full one, so that resources and
/// replicas spread.
const FIRST_CYCLE: f64 = 0.3;

/// The longest pause between attempts, with `left` to the end of life: a quarter of that, and
/// none that takes the place of one of the last two full attempts.
#[must_use]
pub fn longest_pause(left: Duration) -> Duration {
    let quarter = left / 4;
    // The attempts that fit, with timers that come a little late.
    let fitting = left.as_millis() / (EXCHANGE_TIMEOUT.as_millis() + 200);
    let pause = match fitting {
        1 => quarter.min(left.saturating_sub(EXCHANGE_TIMEOUT)),
        2 => quarter.min((left / 2).saturating_sub(EXCHANGE_TIMEOUT)),
        _ => quarter,
    };
    pause.clamp(MIN_BACKOFF, MAX_BACKOFF)
}

/// When to refresh grants of one profile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// The life that grants are asked for.
    pub grant_ttl: Duration,
    /// Kept in hand for clocks and the way to the player.
    pub margin: Duration,
    /// The point of refresh in a grant of the life asked for.
    pub refresh_after: Duration,
}

impl Policy {
    /// The latest point at which three attempts still fit in a grant of `ttl`.
    #[must_use]
    pub fn latest_point(ttl: Duration, margin: Duration) -> Duration {
        ttl.saturating_sub(margin + THREE_ATTEMPTS)
    }

    /// The shortest grant, in whole seconds, that can be kept fresh with this margin.
    #[must_use]
    pub fn least_grant_ttl(margin: Duration) -> Duration {
        let least = (margin + THREE_ATTEMPTS).mul_f64(4.0 / 3.0);
        Duration::from_secs(least.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX))
    }

    /// The refresh point of a profile that names none.
    #[must_use]
    pub fn default_point(grant_ttl: Duration, margin: Duration) -> Duration {
        grant_ttl.mul_f64(DEFAULT_POINT).min(Self::latest_point(grant_ttl, margin))
    }

    /// The refresh point from which it follows that every token has at least `promise` left
    /// when it is handed out, two attempts included.
    #[must_use]
    pub fn point_for_promise(grant_ttl: Duration, margin: Duration, promise: Duration) -> Duration {
        grant_ttl.saturating_sub(margin + promise + EXCHANGE_TIMEOUT * 2)
    }

    /// The refresh point in a grant that was granted `ttl`, which may not be what was asked.
    #[must_use]
    pub fn point(&self, ttl: Duration) -> Duration {
        let share = ttl.as_secs_f64() / self.grant_ttl.as_secs_f64().max(f64::MIN_POSITIVE);
        let proportional = self.refresh_after.mul_f64(share);
        (ttl / 4).max(proportional.min(Self::latest_point(ttl, self.margin)))
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
        self.grant_ttl.saturating_sub(self.margin + self.point(self.grant_ttl) + EXCHANGE_TIMEOUT)
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
        let (grant_ttl, margin) = (secs(grant_ttl), secs(2));
        Policy { grant_ttl, margin, refresh_after: Policy::default_point(grant_ttl, margin) }
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
        for point in 0..=1_500 {
            let mut left = THREE_ATTEMPTS + Duration::from_millis(1_500 - point);
            for _ in 0..2 {
                left = left.saturating_sub(EXCHANGE_TIMEOUT);
                left = left.saturating_sub(longest_pause(left) + Duration::from_millis(1));
            }
            let short = EXCHANGE_TIMEOUT.saturating_sub(left);
            assert!(short <= Duration::from_millis(10), "{point}: {short:?}");
        }
    }

    #[test]
    fn the_default_point_of_a_shorter_grant_leaves_room_for_three_attempts_too() {
        assert_eq!(policy(30).refresh_after, Duration::from_millis(21_500));
        assert_eq!(Policy::least_grant_ttl(secs(2)), secs(12));
        assert_eq!(Policy::least_grant_ttl(secs(5)), secs(16));
    }

    #[test]
    fn what_a_profile_promises_is_what_is_left_at_the_last_hand_out() {
        assert_eq!(policy(60).worst_hand_out(), secs(6));
        let half = Policy { refresh_after: secs(30), ..policy(60) };
        assert_eq!(half.worst_hand_out(), secs(26));
        let point = Policy::point_for_promise(secs(60), secs(2), secs(20));
        assert_eq!(point, secs(34));
        let promised = Policy { refresh_after: point, ..policy(60) };
        assert!(promised.worst_hand_out() >= secs(20));
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
