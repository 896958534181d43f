//! The results of a grant's recent attempts, for reports: which results occurred in each 10 s of
//! the last ten minutes. It takes one byte per period, however many attempts there are.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::FaultClass;
use crate::clock::BootTime;

/// The result of an attempt to fetch a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptResult {
    /// A grant was published.
    Ok,
    /// The account's budget held the attempt: nothing was sent, or it failed while the account is
    /// held.
    Held,
    /// A panic ended the attempt.
    Panicked,
    /// It failed with a fault of this class.
    Failed(FaultClass),
}

impl AttemptResult {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Ok,
        Self::Held,
        Self::Panicked,
        Self::Failed(FaultClass::Transient),
        Self::Failed(FaultClass::Throttled),
        Self::Failed(FaultClass::Credential),
        Self::Failed(FaultClass::Resource),
        Self::Failed(FaultClass::Misconfigured),
    ];

    /// The result in one lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Held => "held",
            Self::Panicked => "panicked",
            Self::Failed(class) => class.as_str(),
        }
    }
}

/// Some of the results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Results(u8);

impl Results {
    /// Whether no attempt ended.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The results that occurred, as indices of [`AttemptResult::ALL`].
    pub fn indices(self) -> impl Iterator<Item = usize> {
        (0..AttemptResult::ALL.len()).filter(move |bit| self.0 & (1 << bit) != 0)
    }

    fn add(&mut self, result: AttemptResult) {
        let bit = AttemptResult::ALL.iter().position(|it| *it == result);
        self.0 |= bit.map_or(0, |bit| 1 << bit);
    }
}

/// The duration of a period.
pub const PERIOD: Duration = Duration::from_secs(10);

/// The number of periods: ten minutes.
pub const PERIODS: usize = 60;

/// The results of one grant's recent attempts. Only its keeper writes.
#[derive(Debug)]
pub struct History(Mutex<Ring>);

#[derive(Debug)]
struct Ring {
    /// The number of the newest period, counted on the boot clock.
    newest: u64,
    /// By period number, modulo their count.
    results: [Results; PERIODS],
}

impl Default for History {
    fn default() -> Self {
        Self(Mutex::new(Ring { newest: 0, results: [Results::default(); PERIODS] }))
    }
}

impl History {
    /// An attempt ended at `at`.
    pub fn record(&self, result: AttemptResult, at: BootTime) {
        self.advance(at, |ring, index| ring.results[index].add(result));
    }

    /// The results of each period up to `now`, the current one first.
    #[must_use]
    pub fn read(&self, now: BootTime) -> [Results; PERIODS] {
        self.advance(now, |ring, index| {
            let mut results = [Results::default(); PERIODS];
            for (age, of_age) in results.iter_mut().enumerate() {
                *of_age = ring.results[(index + PERIODS - age) % PERIODS];
            }
            results
        })
    }

    /// Makes the period of `at` the newest, clears those that were skipped, and calls `with` with
    /// its index.
    fn advance<T>(&self, at: BootTime, with: impl FnOnce(&mut Ring, usize) -> T) -> T {
        let mut ring = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = at.whole(PERIOD).max(ring.newest);
        let skipped = (number - ring.newest).min(PERIODS as u64);
        for back in 0..skipped {
            ring.results[index(number - back)] = Results::default();
        }
        ring.newest = number;
        with(&mut ring, index(number))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "below 60")]
const fn index(number: u64) -> usize {
    (number % PERIODS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, WallTime};

    fn shown(history: &History, now: BootTime) -> Vec<(usize, Vec<&'static str>)> {
        let results = history.read(now).into_iter().enumerate();
        let some = results.filter(|(_, results)| !results.is_empty());
        some.map(|(age, results)| {
            (age, results.indices().map(|index| AttemptResult::ALL[index].as_str()).collect())
        })
        .collect()
    }

    #[test]
    fn results_age_and_are_forgotten_after_ten_minutes() {
        let start = Clock::simulated(WallTime::from_unix_seconds(0)).0.now().boot;
        let history = History::default();
        assert!(shown(&history, start).is_empty());
        history.record(AttemptResult::Ok, start);
        history.record(AttemptResult::Failed(FaultClass::Throttled), start);
        history.record(AttemptResult::Held, start + PERIOD * 2);
        let both = vec!["ok", "throttled"];
        assert_eq!(shown(&history, start + PERIOD * 2), [(0, vec!["held"]), (2, both.clone())]);
        assert_eq!(shown(&history, start + PERIOD * 59), [(57, vec!["held"]), (59, both)]);
        assert_eq!(shown(&history, start + PERIOD * 60), [(58, vec!["held"])]);
        assert!(shown(&history, start + PERIOD * 1_000).is_empty());
    }

    #[test]
    fn history_takes_less_than_100_bytes() {
        assert!(size_of::<History>() < 100, "{}", size_of::<History>());
    }
}
