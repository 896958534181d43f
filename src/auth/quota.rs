//! Quotas: a rate with a burst, in one atomic word.
//!
//! This is the generic cell rate algorithm: a leaky bucket that stores only the time at which it
//! will be full again (<https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

const NANOS: u128 = 1_000_000_000;

/// The maximum rate and burst: one unit per 100 ns.
pub const MAX_RATE: u32 = 10_000_000;

/// A refill rate and a capacity; both are positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Units per second.
    pub rate: u32,
    /// The capacity in units.
    pub burst: u32,
}

impl Rate {
    /// How long it takes to refill `units`, in nanoseconds, rounded up.
    fn nanos(self, units: u64) -> u64 {
        let nanos = (u128::from(units) * NANOS).div_ceil(self.rate.max(1).into());
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// The units refilled in `nanos` nanoseconds.
    fn units(self, nanos: u64) -> u64 {
        let units = u128::from(nanos) * u128::from(self.rate) / NANOS;
        u64::try_from(units).unwrap_or(u64::MAX)
    }
}

/// The level of a bucket with a [`Rate`]; initially full. Times are nanoseconds since the owner's
/// start.
#[derive(Debug, Default)]
pub struct Level(AtomicU64);

impl Level {
    /// Takes up to `most` tokens of `each` units, but not fewer than `least`.
    ///
    /// # Errors
    ///
    /// Fewer are available; returns how long until there are enough.
    pub fn take(
        &self,
        rate: Rate,
        now: u64,
        least: u64,
        most: u64,
        each: u32,
    ) -> Result<u64, Duration> {
        let each = u64::from(each.max(1));
        let capacity = rate.nanos(rate.burst.into());
        let mut full_at = self.0.load(Ordering::Relaxed);
        loop {
            let missing = full_at.saturating_sub(now);
            let available = rate.units(capacity.saturating_sub(missing));
            let tokens = (available / each).min(most);
            if tokens < least {
                let wanted = missing.saturating_add(rate.nanos(least.saturating_mul(each)));
                return Err(Duration::from_nanos(wanted.saturating_sub(capacity).max(1)));
            }
            let next = full_at.max(now).saturating_add(rate.nanos(tokens * each));
            let swapped =
                self.0.compare_exchange_weak(full_at, next, Ordering::Relaxed, Ordering::Relaxed);
            match swapped {
                Ok(_) => return Ok(tokens),
                Err(current) => full_at = current,
            }
        }
    }

    /// Returns unused units.
    pub fn give_back(&self, rate: Rate, units: u64) {
        let less = |full_at: u64| Some(full_at.saturating_sub(rate.nanos(units)));
        // Cannot fail: the closure always returns a value.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Changes the rate without refilling: the number of missing units is kept.
    pub fn change(&self, before: Rate, after: Rate, now: u64) {
        let changed = |full_at: u64| {
            let missing = before.units(full_at.saturating_sub(now)).min(after.burst.into());
            Some(now.saturating_add(after.nanos(missing)))
        };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// A reference bucket that counts billionths of a unit.
    struct Model {
        rate: Rate,
        drops: u128,
        at: u64,
    }

    impl Model {
        fn take(&mut self, now: u64, least: u64, most: u64, each: u64) -> Option<u64> {
            let refilled = u128::from(now - self.at) * u128::from(self.rate.rate);
            self.drops = (self.drops + refilled).min(u128::from(self.rate.burst) * NANOS);
            self.at = now;
            let tokens = u64::try_from(self.drops / NANOS / u128::from(each)).unwrap().min(most);
            if tokens < least {
                return None;
            }
            self.drops -= u128::from(tokens * each) * NANOS;
            Some(tokens)
        }
    }

    proptest! {
        #[test]
        fn level_matches_the_reference_bucket(
            // Rates at which one unit takes whole nanoseconds, so that both round alike.
            rate in prop::sample::select(vec![1_u32, 2, 5, 64, 1_000, 50_000, 10_000_000]),
            burst in 1_u32..2_000,
            calls in vec((0_u64..3_000_000_000, 0_u64..40, 0_u64..300, 1_u32..40), 1..60),
        ) {
            let rate = Rate { rate, burst };
            let level = Level::default();
            let mut model = Model { rate, drops: u128::from(burst) * NANOS, at: 0 };
            let mut now = 0;
            for (later, least, more, each) in calls {
                now += later;
                let most = least + more;
                let taken = level.take(rate, now, least, most, each);
                let expected = model.take(now, least, most, each.into());
                prop_assert_eq!(taken.ok(), expected);
                if let Err(wait) = taken && least * u64::from(each) <= burst.into() {
                    // The tokens are available at that time and not before.
                    now += u64::try_from(wait.as_nanos()).unwrap();
                    prop_assert_eq!(model.take(now - 1, least, least, each.into()), None);
                    prop_assert_eq!(model.take(now, least, least, each.into()), Some(least));
                    prop_assert_eq!(level.take(rate, now, least, least, each), Ok(least));
                }
            }
        }
    }

    const RATE: Rate = Rate { rate: 10, burst: 100 };

    #[test]
    fn returned_units_can_be_taken_again() {
        let level = Level::default();
        assert_eq!(level.take(RATE, 5, 1, 1_000, 1), Ok(100));
        level.give_back(RATE, 40);
        assert_eq!(level.take(RATE, 5, 1, 1_000, 1), Ok(40));
        level.give_back(RATE, 1_000);
        assert_eq!(level.take(RATE, 5, 1, 1_000, 1), Ok(100), "no more than the burst");
    }

    #[test]
    fn changing_the_rate_does_not_refill() {
        let level = Level::default();
        assert_eq!(level.take(RATE, 0, 1, 70, 1), Ok(70));
        let faster = Rate { rate: 1_000, burst: 80 };
        level.change(RATE, faster, 0);
        assert_eq!(level.take(faster, 0, 1, 1_000, 1), Ok(10), "70 of 80 are missing");
        level.change(faster, RATE, 0);
        assert_eq!(level.take(RATE, 0, 1, 1_000, 1), Ok(20), "80 of 100 are missing");
    }
}
