//! The use-by times of a bulk's tokens.

use std::collections::BTreeMap;

use grantmint::clock::WallTime;

use crate::client::{timestamp, utc};

/// Counts tokens by their use-by time in seconds, so that memory does not grow with the number of
/// tokens.
#[derive(Default)]
pub(super) struct UseBy {
    by_second: BTreeMap<i64, usize>,
    earliest: Option<WallTime>,
}

impl UseBy {
    /// Adds tokens with this use-by time.
    pub(super) fn add(&mut self, tokens: usize, use_by: WallTime) {
        *self.by_second.entry(use_by.unix_seconds()).or_default() += tokens;
        self.earliest = Some(self.earliest.map_or(use_by, |earliest| earliest.min(use_by)));
    }

    /// The earliest use-by time.
    pub(super) const fn earliest(&self) -> Option<WallTime> {
        self.earliest
    }

    /// How many tokens are past their use-by time; one within the current second counts.
    pub(super) fn past_use(&self, now: WallTime) -> usize {
        self.by_second.range(..=now.unix_seconds()).map(|(_, tokens)| tokens).sum()
    }

    /// By when to use the tokens.
    pub(super) fn lines(&self, now: WallTime) -> Vec<String> {
        let Some(earliest) = self.earliest else { return Vec::new() };
        let past_use = self.past_use(now);
        let first = utc(Some(&timestamp(earliest)));
        if past_use == 0 {
            let left = earliest.since(now).as_secs_f64();
            return vec![format!("use all tokens by {first} (in {left:.1} s)")];
        }
        let mut lines = vec![format!(
            "{past_use} tokens are past their use-by time, the first since {first}; request fewer \
             at a time, or use them as they arrive"
        )];
        let usable = self.by_second.range(now.unix_seconds() + 1..).next();
        lines.extend(usable.map(|(next, _)| {
            let next = WallTime::from_unix_seconds(*next);
            let (by, left) = (utc(Some(&timestamp(next))), next.since(now).as_secs_f64());
            format!("use the other tokens by {by} (in {left:.1} s)")
        }));
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: u64) -> WallTime {
        WallTime::from_unix_seconds(1_700_000_000) + Duration::from_millis(millis)
    }

    fn use_by() -> UseBy {
        let mut use_by = UseBy::default();
        use_by.add(70, at(30_500));
        use_by.add(70, at(30_100));
        use_by.add(5, at(80_000));
        use_by
    }

    #[test]
    fn tokens_past_their_use_by_time_are_counted() {
        let counted = [0, 29_999, 30_000, 79_999, 80_000].map(|now| use_by().past_use(at(now)));
        assert_eq!(counted, [0, 0, 140, 140, 145]);
        assert_eq!(use_by().earliest(), Some(at(30_100)));
        assert_eq!(UseBy::default().past_use(at(0)), 0);
    }

    #[test]
    fn lines_report_use_by_times_and_tokens_past_them() {
        assert_eq!(
            use_by().lines(at(10_000)),
            ["use all tokens by 2023-11-14T22:13:50.100Z (in 20.1 s)"]
        );
        let lines = use_by().lines(at(40_000));
        assert!(lines[0].starts_with("140 tokens are past their use-by time, the first since"));
        assert_eq!(lines[1], "use the other tokens by 2023-11-14T22:14:40.000Z (in 40.0 s)");
        assert_eq!(use_by().lines(at(90_000)).len(), 1);
        assert!(UseBy::default().lines(at(0)).is_empty());
    }
}
