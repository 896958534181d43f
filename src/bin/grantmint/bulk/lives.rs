//! How long the tokens of a bulk can be used.

use std::collections::BTreeMap;

use grantmint::clock::WallTime;

use crate::client::{timestamp, utc};

/// How many tokens are to be used by when, to the second: that much whatever their number.
#[derive(Default)]
pub(super) struct Lives {
    by_second: BTreeMap<i64, usize>,
    earliest: Option<WallTime>,
}

impl Lives {
    /// Tokens that are to be used by then.
    pub(super) fn add(&mut self, tokens: usize, use_by: WallTime) {
        *self.by_second.entry(use_by.unix_seconds()).or_default() += tokens;
        self.earliest = Some(self.earliest.map_or(use_by, |earliest| earliest.min(use_by)));
    }

    /// When the first can be used no longer.
    pub(super) const fn earliest(&self) -> Option<WallTime> {
        self.earliest
    }

    /// How many can be used no longer; one that ends within this second counts.
    pub(super) fn past_use(&self, now: WallTime) -> usize {
        self.by_second.range(..=now.unix_seconds()).map(|(_, tokens)| tokens).sum()
    }

    /// What to do with them.
    pub(super) fn words(&self, now: WallTime) -> Vec<String> {
        let Some(earliest) = self.earliest else { return Vec::new() };
        let dead = self.past_use(now);
        let first = utc(Some(&timestamp(earliest)));
        if dead == 0 {
            let left = earliest.since(now).as_secs_f64();
            return vec![format!(
                "use them all by {first} (in {left:.1} s): then the earliest ends"
            )];
        }
        let mut words = vec![format!(
            "{dead} of them are past their use already, the earliest since {first}; ask for fewer \
             at a time, or use them as they come"
        )];
        let alive = self.by_second.range(now.unix_seconds() + 1..).next();
        words.extend(alive.map(|(next, _)| {
            let next = WallTime::from_unix_seconds(*next);
            let (by, left) = (utc(Some(&timestamp(next))), next.since(now).as_secs_f64());
            format!("use the others by {by} (in {left:.1} s): then the earliest of them ends")
        }));
        words
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> WallTime {
        WallTime::from_unix_seconds(1_700_000_000) + Duration::from_millis(millis)
    }

    fn lives() -> Lives {
        let mut lives = Lives::default();
        lives.add(70, at(30_500));
        lives.add(70, at(30_100));
        lives.add(5, at(80_000));
        lives
    }

    #[test]
    fn what_died_meanwhile_is_counted() {
        let counted = [0, 29_999, 30_000, 79_999, 80_000].map(|now| lives().past_use(at(now)));
        assert_eq!(counted, [0, 0, 140, 140, 145]);
        assert_eq!(lives().earliest(), Some(at(30_100)));
        assert_eq!(Lives::default().past_use(at(0)), 0);
    }

    #[test]
    fn the_end_says_by_when_to_use_them_or_how_many_are_lost() {
        assert_eq!(
            lives().words(at(10_000)),
            ["use them all by 2023-11-14T22:13:50.100Z (in 20.1 s): then the earliest ends"]
        );
        let words = lives().words(at(40_000));
        assert!(words[0].starts_with("140 of them are past their use already, the earliest since"));
        assert_eq!(
            words[1],
            "use the others by 2023-11-14T22:14:40.000Z (in 40.0 s): then the earliest of them ends"
        );
        assert_eq!(lives().words(at(90_000)).len(), 1);
        assert!(Lives::default().words(at(0)).is_empty());
    }
}
