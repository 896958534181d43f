//! What the sandbox has seen: counters, and a log of the latest requests.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

use crate::clock::Anchor;

/// Requests that the log keeps.
const LOG_LENGTH: usize = 10_000;

/// Counts of requests for grants, from the start on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// Connections taken.
    pub connections: u64,
    /// Requests that came in.
    pub requests: u64,
    /// Requests answered with a grant, a shorter one too.
    pub granted: u64,
    /// Requests answered with an error, by status.
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

/// A request for a grant.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// Its path.
    pub path: String,
    /// The `Ttl` of its form, as written.
    pub ttl: Option<String>,
    /// The `AccessControlAllowOrigin` of its form.
    pub allow_origin: Option<String>,
    /// What it was answered with; none while at work, or where it got no answer.
    pub status: Option<u16>,
    /// The playback URL that it was granted.
    pub playback_url: Option<String>,
    /// When it came in.
    pub at: Anchor,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The playback URL holds a token.
        f.debug_struct("Request")
            .field("path", &self.path)
            .field("ttl", &self.ttl)
            .field("allow_origin", &self.allow_origin)
            .field("status", &self.status)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    counters: Counters,
    log: VecDeque<Request>,
    /// How many requests have left the log.
    gone: u64,
}

/// Keeps the counters and the log.
#[derive(Default)]
pub(super) struct Ledger(Mutex<State>);

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn counters(&self) -> Counters {
        self.state().counters.clone()
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.state().log.iter().cloned().collect()
    }

    pub(super) fn connected(&self) {
        self.state().counters.connections += 1;
    }

    /// Enters a request. It is at work until its entry is answered or dropped.
    pub(super) fn enter(self: &Arc<Self>, path: &str, at: Anchor) -> Entry {
        let mut state = self.state();
        state.counters.requests += 1;
        state.counters.in_flight += 1;
        let at_work = state.counters.in_flight;
        state.counters.max_in_flight = state.counters.max_in_flight.max(at_work);
        if state.log.len() == LOG_LENGTH {
            state.log.pop_front();
            state.gone += 1;
        }
        let number = state.counters.requests - 1;
        state.log.push_back(Request {
            path: path.to_owned(),
            ttl: None,
            allow_origin: None,
            status: None,
            playback_url: None,
            at,
        });
        drop(state);
        Entry { ledger: Arc::clone(self), number, at_work, answered: false }
    }
}

/// A request at work.
pub(super) struct Entry {
    ledger: Arc<Ledger>,
    number: u64,
    /// Requests at work when it came in, itself too.
    pub(super) at_work: usize,
    answered: bool,
}

impl Entry {
    fn note(&self, note: impl FnOnce(&mut Request)) {
        let mut state = self.ledger.state();
        let at = self.number.checked_sub(state.gone).and_then(|at| usize::try_from(at).ok());
        if let Some(request) = at.and_then(|at| state.log.get_mut(at)) {
            note(request);
        }
    }

    pub(super) fn form(&self, ttl: Option<String>, allow_origin: Option<String>) {
        self.note(|request| {
            request.ttl = ttl;
            request.allow_origin = allow_origin;
        });
    }

    pub(super) fn fault(&self) {
        self.ledger.state().counters.faults += 1;
    }

    /// Counts the answer.
    pub(super) fn answered(mut self, status: u16, playback_url: Option<String>) {
        self.answered = true;
        {
            let mut state = self.ledger.state();
            let counters = &mut state.counters;
            counters.granted += u64::from(playback_url.is_some());
            if status >= 300 {
                *counters.refused.entry(status).or_default() += 1;
            }
            counters.unauthorized += u64::from(status == 401);
            counters.throttled += u64::from(status == 429);
        }
        self.note(|request| {
            request.status = Some(status);
            request.playback_url = playback_url;
        });
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.ledger.state();
        state.counters.in_flight -= 1;
        state.counters.unanswered += u64::from(!self.answered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn the_log_keeps_the_latest() {
        let ledger = Arc::new(Ledger::default());
        let at = Clock::system().now();
        let first = ledger.enter("/first", at);
        for _ in 0..LOG_LENGTH {
            ledger.enter("/later", at).answered(201, None);
        }
        first.answered(503, None);
        let requests = ledger.requests();
        assert_eq!(requests.len(), LOG_LENGTH);
        assert!(requests.iter().all(|request| request.status == Some(201)));
        assert_eq!(ledger.counters().refused, BTreeMap::from([(503, 1)]));
    }
}
