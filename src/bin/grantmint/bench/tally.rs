//! What has come of the calls of one connection, or of all.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::{CreationError, Histogram};
use tonic::{Code, Status};

use crate::failure::{disconnected, reason};

/// Digits of a time that are kept.
const DIGITS: u8 = 3;

/// What has come of calls. All but the two counts of what came inside the time measured are of
/// the calls that began in it.
pub(super) struct Tally {
    pub(super) begun: u64,
    /// Of those, how many were due before there was a caller free.
    pub(super) waited: u64,
    pub(super) answered: u64,
    pub(super) tokens: u64,
    /// In microseconds, of those that were answered or ran out of time.
    pub(super) times: Histogram<u64>,
    pub(super) errors: BTreeMap<Sort, Errors>,
    /// Answers that came while it was measured, whenever their calls began.
    pub(super) answered_inside: u64,
    /// Tokens that came while it was measured.
    pub(super) tokens_inside: u64,
}

/// A sort of failure.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sort {
    /// There was no connection, or it broke.
    Disconnected,
    /// With this code's number and the server's reason, if it gave one.
    Failed(i32, Option<String>),
}

impl Sort {
    fn of(status: &Status) -> Self {
        if disconnected(status) {
            Self::Disconnected
        } else {
            Self::Failed(status.code().into(), reason(status))
        }
    }
}

/// Failures of a sort.
#[derive(Clone, Debug)]
pub(super) struct Errors {
    pub(super) calls: u64,
    /// The first of them.
    pub(super) first: Status,
}

impl Tally {
    pub(super) fn new() -> Result<Self, CreationError> {
        Ok(Self {
            begun: 0,
            waited: 0,
            answered: 0,
            tokens: 0,
            times: Histogram::new(DIGITS)?,
            errors: BTreeMap::new(),
            answered_inside: 0,
            tokens_inside: 0,
        })
    }

    /// A call ended after this time.
    pub(super) fn end(&mut self, time: Duration, ended: Result<(), Status>) {
        if ended.as_ref().err().is_none_or(|status| status.code() == Code::DeadlineExceeded) {
            let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            let recorded = self.times.record(micros);
            debug_assert!(recorded.is_ok(), "it grows");
        }
        match ended {
            Ok(()) => self.answered += 1,
            Err(status) => self.fail(Sort::of(&status), 1, &status),
        }
    }

    fn fail(&mut self, sort: Sort, calls: u64, status: &Status) {
        let errors = self.errors.entry(sort);
        errors.or_insert_with(|| Errors { calls: 0, first: status.clone() }).calls += calls;
    }

    /// Adds another connection's.
    pub(super) fn add(&mut self, other: &Self) {
        self.begun += other.begun;
        self.waited += other.waited;
        self.answered += other.answered;
        self.tokens += other.tokens;
        self.answered_inside += other.answered_inside;
        self.tokens_inside += other.tokens_inside;
        let added = self.times.add(&other.times);
        debug_assert!(added.is_ok(), "it grows");
        for (sort, errors) in &other.errors {
            self.fail(sort.clone(), errors.calls, &errors.first);
        }
    }

    pub(super) fn failed(&self) -> u64 {
        self.errors.values().map(|errors| errors.calls).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_out_of_time_counts_with_its_time_and_what_was_refused_does_not() {
        let mut tally = Tally::new().unwrap();
        tally.end(Duration::from_millis(1), Ok(()));
        tally.end(Duration::from_secs(3), Err(Status::deadline_exceeded("no answer")));
        tally.end(Duration::from_secs(9), Err(Status::not_found("nobody")));
        assert_eq!((tally.times.len(), tally.answered, tally.failed()), (2, 1, 2));
        assert!(tally.times.equivalent(tally.times.max(), 3_000_000));
    }

    #[test]
    fn the_tallies_of_all_connections_add_up_by_sort_of_failure() {
        let mut all = Tally::new().unwrap();
        for (wait, text) in [(1, "the first"), (700, "the second")] {
            let mut one = Tally::new().unwrap();
            one.end(Duration::from_millis(wait), Ok(()));
            one.end(Duration::ZERO, Err(Status::not_found(text)));
            one.end(Duration::ZERO, Err(Status::unavailable("nobody there")));
            all.add(&one);
        }
        assert_eq!((all.times.len(), all.answered, all.failed()), (2, 2, 4));
        let sorts: Vec<_> = all.errors.iter().map(|(sort, errors)| (sort, errors.calls)).collect();
        assert_eq!(
            sorts,
            [(&Sort::Disconnected, 2), (&Sort::Failed(Code::NotFound.into(), None), 2)]
        );
    }
}
