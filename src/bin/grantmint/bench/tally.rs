//! The results of the calls of one connection, or of all.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::{CreationError, Histogram};
use tonic::{Code, Status};

use crate::failure::{disconnected, reason};

/// Significant digits of a recorded latency.
const DIGITS: u8 = 3;

/// The results of calls. The two counts `…_in_window` cover what arrived in the measured time; all
/// others cover the calls that started in it.
pub(super) struct Tally {
    pub(super) started: u64,
    /// How many of those were due before a caller was free.
    pub(super) waited: u64,
    pub(super) answered: u64,
    pub(super) tokens: u64,
    /// Latencies in microseconds, of calls that succeeded or timed out.
    pub(super) times: Histogram<u64>,
    pub(super) errors: BTreeMap<ErrorKind, Errors>,
    /// Calls that succeeded in the measured time, whenever they started.
    pub(super) answered_in_window: u64,
    /// Tokens that arrived in the measured time.
    pub(super) tokens_in_window: u64,
}

/// A kind of error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ErrorKind {
    /// No connection, or it broke.
    Disconnected,
    /// The number of the status code, and the server's reason if any.
    Failed(i32, Option<String>),
}

impl ErrorKind {
    fn of(status: &Status) -> Self {
        if disconnected(status) {
            Self::Disconnected
        } else {
            Self::Failed(status.code().into(), reason(status))
        }
    }
}

/// Errors of one kind.
#[derive(Clone, Debug)]
pub(super) struct Errors {
    pub(super) calls: u64,
    /// The first of them.
    pub(super) first: Status,
}

impl Tally {
    pub(super) fn new() -> Result<Self, CreationError> {
        Ok(Self {
            started: 0,
            waited: 0,
            answered: 0,
            tokens: 0,
            times: Histogram::new(DIGITS)?,
            errors: BTreeMap::new(),
            answered_in_window: 0,
            tokens_in_window: 0,
        })
    }

    /// Records a call that ended after `time`.
    pub(super) fn end(&mut self, time: Duration, ended: Result<(), Status>) {
        if ended.as_ref().err().is_none_or(|status| status.code() == Code::DeadlineExceeded) {
            let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            let recorded = self.times.record(micros);
            debug_assert!(recorded.is_ok(), "it grows");
        }
        match ended {
            Ok(()) => self.answered += 1,
            Err(status) => self.fail(ErrorKind::of(&status), 1, &status),
        }
    }

    fn fail(&mut self, kind: ErrorKind, calls: u64, status: &Status) {
        let errors = self.errors.entry(kind);
        errors.or_insert_with(|| Errors { calls: 0, first: status.clone() }).calls += calls;
    }

    /// Adds the tally of another connection.
    pub(super) fn add(&mut self, other: &Self) {
        self.started += other.started;
        self.waited += other.waited;
        self.answered += other.answered;
        self.tokens += other.tokens;
        self.answered_in_window += other.answered_in_window;
        self.tokens_in_window += other.tokens_in_window;
        let added = self.times.add(&other.times);
        debug_assert!(added.is_ok(), "it grows");
        for (kind, errors) in &other.errors {
            self.fail(kind.clone(), errors.calls, &errors.first);
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
    fn timed_out_calls_have_a_latency_and_refused_calls_do_not() {
        let mut tally = Tally::new().unwrap();
        tally.end(Duration::from_millis(1), Ok(()));
        tally.end(Duration::from_secs(3), Err(Status::deadline_exceeded("no response")));
        tally.end(Duration::from_secs(9), Err(Status::not_found("no such profile")));
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
            one.end(Duration::ZERO, Err(Status::unavailable("no connection")));
            all.add(&one);
        }
        assert_eq!((all.times.len(), all.answered, all.failed()), (2, 2, 4));
        let kinds: Vec<_> = all.errors.iter().map(|(kind, errors)| (kind, errors.calls)).collect();
        assert_eq!(
            kinds,
            [(&ErrorKind::Disconnected, 2), (&ErrorKind::Failed(Code::NotFound.into(), None), 2)]
        );
    }
}
