//! The sandbox's counters and its log of the latest requests.

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

/// The number of requests that the log keeps.
const LOG_LENGTH: usize = 10_000;

/// The number of characters of a string that the log keeps.
const CLIPPED: usize = 256;

/// Counts of connections and requests for grants since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Accepted connections.
    pub connections: u64,
    /// Received requests.
    pub requests: u64,
    /// Requests that received a grant, including a shortened one.
    pub granted: u64,
    /// Refused requests, by status.
    pub refused: BTreeMap<u16, u64>,
    /// Requests refused with 401.
    pub unauthorized: u64,
    /// Requests refused with 429.
    pub throttled: u64,
    /// Requests that triggered a fault.
    pub faults: u64,
    /// Requests without a response: hung, reset, or abandoned by the client.
    pub unanswered: u64,
    /// Requests in flight, including hanging ones.
    pub in_flight: usize,
    /// The highest number of requests in flight.
    pub max_in_flight: usize,
}

/// A request for a grant. Strings from the client are clipped.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number, counted from 1.
    pub number: u64,
    /// When it was received.
    pub at: Anchor,
    /// The requested resource, well-formed or not.
    pub resource: Option<String>,
    /// The endpoint's notes about it, by name.
    pub notes: Vec<(&'static str, Option<String>)>,
    /// The fault that it triggered, in its grammar.
    pub fault: Option<String>,
    /// The response status; `None` while in flight, or without a response.
    pub status: Option<u16>,
    /// The time from its arrival until the response started, or until it ended without a response;
    /// `None` while in flight.
    pub held: Option<Duration>,
    /// The granted credential, a secret.
    pub credential: Option<String>,
}

impl Request {
    /// The endpoint's note of this name.
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

/// A line of the request log, without the grant.
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

/// Serializes the notes as members of a line.
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

    /// The log, oldest first.
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

    /// Records a request. It is in flight until its entry is dropped.
    pub(super) fn enter(self: &Arc<Self>) -> Entry {
        let at = self.clock.now();
        let mut state = self.state();
        state.counters.requests += 1;
        state.counters.in_flight += 1;
        let in_flight = state.counters.in_flight;
        state.counters.max_in_flight = state.counters.max_in_flight.max(in_flight);
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
        Entry { ledger: Arc::clone(self), number, at, in_flight, answered: false }
    }
}

/// A request in flight.
pub(super) struct Entry {
    ledger: Arc<Ledger>,
    number: u64,
    at: Anchor,
    /// Requests in flight when it was received, including itself.
    pub(super) in_flight: usize,
    answered: bool,
}

impl Entry {
    fn held(&self) -> Duration {
        self.ledger.clock.now().boot.since(self.at.boot)
    }

    pub(super) fn recognized(
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

    /// Counts the response, and returns how long the request was held.
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
    /// Updates a request that is still in the log.
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

/// Shortens a string from a client, since the log keeps many.
fn clip(text: &str) -> String {
    text.chars().take(CLIPPED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_keeps_latest_requests_and_clips_strings() {
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
        entry.recognized(Some(&long), vec![("ttl", Some(long.clone()))]);
        entry.fault(&format!("body-text={long}").parse().unwrap());
        let last = ledger.requests().pop().unwrap();
        assert_eq!((last.note("ttl"), last.note("other")), (last.resource.as_deref(), None));
        for text in [last.resource, last.fault] {
            assert_eq!(text.unwrap().chars().count(), CLIPPED);
        }
    }
}
