//! What the sandbox has seen: counters, and a log of the latest requests.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::StatusCode;
use serde::{Serialize, Serializer};

use super::{answer::Outcome, fault::Fault};
use crate::clock::{Anchor, Clock};

/// Requests that the log keeps.
const LOG_LENGTH: usize = 10_000;

/// Characters of a text that the log keeps.
const CLIPPED: usize = 256;

/// Counts of requests for grants, from the start on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections taken.
    pub connections: u64,
    /// Requests that came in.
    pub requests: u64,
    /// Requests answered with a grant, a shorter one too.
    pub granted: u64,
    /// Requests refused, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Those of them answered 401.
    pub unauthorized: u64,
    /// Those of them answered 429.
    pub throttled: u64,
    /// Requests that met a fault.
    pub faults: u64,
    /// Requests not answered: hung, reset, or given up by the client.
    pub unanswered: u64,
    /// Requests at work now, hanging ones too.
    pub in_flight: usize,
    /// The most that were at work at once.
    pub max_in_flight: usize,
}

/// A request for a grant. Texts of the client's are clipped.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number, from 1 on.
    pub number: u64,
    /// When it came in.
    pub at: Anchor,
    /// The resource that it asks a grant for, well-formed or not; none if it asks for none.
    pub resource: Option<String>,
    /// What its endpoint notes of it, by name.
    pub notes: Vec<(&'static str, Option<String>)>,
    /// The fault that it met, in its grammar.
    pub fault: Option<String>,
    /// What it was answered with; none while at work, or where it got no answer.
    pub status: Option<u16>,
    /// How long it was held: up to the first byte of its answer, or to its end without one;
    /// none while at work.
    pub held: Option<Duration>,
    /// The credential that it was granted: a secret.
    pub credential: Option<String>,
}

impl Request {
    /// What its endpoint notes of it under this name.
    #[must_use]
    pub fn note(&self, name: &str) -> Option<&str> {
        self.notes.iter().find(|(its, _)| *its == name)?.1.as_deref()
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the credential.
        f.debug_struct("Request")
            .field("number", &self.number)
            .field("at", &self.at)
            .field("resource", &self.resource)
            .field("notes", &self.notes)
            .field("fault", &self.fault)
            .field("status", &self.status)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

/// A request as the log tells it: without the grant.
#[derive(Serialize)]
pub(super) struct Line {
    number: u64,
    /// Milliseconds since the start.
    at_ms: u64,
    resource: Option<String>,
    #[serde(flatten, serialize_with = "members")]
    notes: Vec<(&'static str, Option<String>)>,
    fault: Option<String>,
    status: Option<u16>,
    held_ms: Option<u64>,
}

/// Notes as the members that they are in a line.
fn members<S: Serializer>(
    notes: &[(&'static str, Option<String>)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(notes.iter().map(|(name, note)| (name, note)))
}

#[derive(Default)]
struct State {
    counters: Counters,
    log: VecDeque<Request>,
}

/// Keeps the counters and the log.
pub(super) struct Ledger {
    clock: Clock,
    started: Anchor,
    state: Mutex<State>,
}

impl Ledger {
    pub(super) fn new(clock: Clock) -> Self {
        Self { started: clock.now(), clock, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counters(&self) -> Counters {
        self.state().counters.clone()
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.state().log.iter().cloned().collect()
    }

    /// The log, the oldest first.
    pub(super) fn lines(&self) -> Vec<Line> {
        let line = |request: Request| Line {
            number: request.number,
            at_ms: millis(request.at.boot.since(self.started.boot)),
            resource: request.resource,
            notes: request.notes,
            fault: request.fault,
            status: request.status,
            held_ms: request.held.map(millis),
        };
        self.requests().into_iter().map(line).collect()
    }

    pub(super) fn connected(&self) {
        self.state().counters.connections += 1;
    }

    /// Enters a request. It is at work until its entry is answered or dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Entry {
        let at = self.clock.now();
        let mut state = self.state();
        state.counters.requests += 1;
        state.counters.in_flight += 1;
        let at_work = state.counters.in_flight;
        state.counters.max_in_flight = state.counters.max_in_flight.max(at_work);
        if state.log.len() == LOG_LENGTH {
            state.log.pop_front();
        }
        let number = state.counters.requests;
        state.log.push_back(Request {
            number,
            at,
            resource: None,
            notes: Vec::new(),
            fault: None,
            status: None,
            held: None,
            credential: None,
        });
        drop(state);
        Entry { ledger: Arc::clone(self), number, at, at_work, answered: false }
    }
}

/// A request at work.
pub(super) struct Entry {
    ledger: Arc<Ledger>,
    number: u64,
    at: Anchor,
    /// Requests at work when it came in, itself too.
    pub(super) at_work: usize,
    answered: bool,
}

impl Entry {
    fn held(&self) -> Duration {
        self.ledger.clock.now().boot.since(self.at.boot)
    }

    pub(super) fn recognised(
        &self,
        resource: Option<&str>,
        notes: Vec<(&'static str, Option<String>)>,
    ) {
        self.ledger.state().note(self.number, |request| {
            request.resource = resource.map(clip);
            let notes = notes.into_iter();
            request.notes = notes.map(|(name, text)| (name, text.as_deref().map(clip))).collect();
        });
    }

    pub(super) fn fault(&self, fault: &Fault) {
        let text = clip(&fault.to_string());
        let mut state = self.ledger.state();
        state.counters.faults += 1;
        state.note(self.number, |request| request.fault = Some(text));
    }

    /// Counts the answer, and tells how long it was held.
    pub(super) fn answered(mut self, status: StatusCode, outcome: Outcome) -> Duration {
        self.answered = true;
        let mut state = self.ledger.state();
        let counters = &mut state.counters;
        match &outcome {
            Outcome::Granted(_) => counters.granted += 1,
            Outcome::Refused(by) => {
                *counters.refused.entry(by.as_u16()).or_default() += 1;
                counters.unauthorized += u64::from(*by == StatusCode::UNAUTHORIZED);
                counters.throttled += u64::from(*by == StatusCode::TOO_MANY_REQUESTS);
            }
            Outcome::Other => {}
        }
        state.note(self.number, |request| {
            request.status = Some(status.as_u16());
            request.credential = match outcome {
                Outcome::Granted(credential) => Some(credential),
                _ => None,
            };
        });
        drop(state);
        self.held()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let held = self.held();
        let mut state = self.ledger.state();
        state.counters.in_flight -= 1;
        state.counters.unanswered += u64::from(!self.answered);
        state.note(self.number, |request| request.held = Some(held));
    }
}

impl State {
    /// Notes something of a request that is still in the log.
    fn note(&mut self, number: u64, note: impl FnOnce(&mut Request)) {
        let first = self.log.front().map_or(0, |request| request.number);
        let at = number.checked_sub(first).and_then(|at| usize::try_from(at).ok());
        if let Some(request) = at.and_then(|at| self.log.get_mut(at)) {
            note(request);
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A text from outside, short enough to keep many of.
fn clip(text: &str) -> String {
    text.chars().take(CLIPPED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_keeps_the_latest_and_no_long_text() {
        let ledger = Arc::new(Ledger::new(Clock::system()));
        let first = ledger.enter();
        for _ in 0..LOG_LENGTH {
            ledger.enter().answered(StatusCode::CREATED, Outcome::Other);
        }
        let down = StatusCode::SERVICE_UNAVAILABLE;
        first.answered(down, Outcome::Refused(down));
        let requests = ledger.requests();
        assert_eq!(requests.len(), LOG_LENGTH);
        assert!(requests.iter().all(|request| request.status == Some(201)));
        assert_eq!((requests[0].number, ledger.counters().requests), (2, 10_001));
        assert_eq!(ledger.counters().refused, BTreeMap::from([(503, 1)]));

        let long = "\u{e9}".repeat(1_000);
        let entry = ledger.enter();
        entry.recognised(Some(&long), vec![("ttl", Some(long.clone()))]);
        entry.fault(&format!("body-text={long}").parse().unwrap());
        let last = ledger.requests().pop().unwrap();
        assert_eq!((last.note("ttl"), last.note("other")), (last.resource.as_deref(), None));
        for text in [last.resource, last.fault] {
            assert_eq!(text.unwrap().chars().count(), CLIPPED);
        }
    }
}
