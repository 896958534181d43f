//! Requests from calls to fetch an issuer's keys before the planned time.
//!
//! A key ID is an unverified claim, so its effect is bounded. Within 30 s, the first unknown ID
//! causes one fetch, and the first different one causes a second.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};

use crate::clock::BootTime;

/// The period in which unknown key IDs cause up to two fetches.
const PERIOD: Duration = Duration::from_secs(30);

/// The maximum number of fetches that unknown key IDs cause per period.
const MAX_FETCHES: usize = 2;

/// The progress of an issuer's key fetches, which are numbered from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// The last started fetch.
    pub(super) begun: u64,
    /// The last finished fetch.
    pub(super) ended: u64,
    /// The last successful fetch.
    pub(super) succeeded: u64,
    /// When the next fetch is planned.
    pub(super) next: BootTime,
}

/// The side of the calls.
#[derive(Debug)]
pub(super) struct Demand(Arc<Shared>);

/// The side of the fetching task.
#[derive(Debug)]
pub struct DemandReceiver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    progress: watch::Sender<Progress>,
    requested: Notify,
    budget: Mutex<Budget>,
}

/// The response to a fetch request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FetchRequest {
    /// Wait for the fetch with this number.
    Wait(u64),
    /// The limit is reached: no fetch starts before this time.
    Limited(BootTime),
}

/// The recent fetches caused by unknown key IDs.
#[derive(Debug, Default)]
struct Budget {
    causes: Vec<(BootTime, String)>,
    /// The number of the last fetch that was allowed.
    allowed: u64,
}

impl Demand {
    /// Creates a demand whose first fetch is planned for `now`.
    pub(super) fn new(now: BootTime) -> Self {
        let progress = Progress { begun: 0, ended: 0, succeeded: 0, next: now };
        let (progress, _) = watch::channel(progress);
        let (requested, budget) = <_>::default();
        Self(Arc::new(Shared { progress, requested, budget }))
    }

    /// The side of the fetching task.
    pub(super) fn receiver(&self) -> DemandReceiver {
        DemandReceiver(Arc::clone(&self.0))
    }

    pub(super) fn progress(&self) -> Progress {
        *self.0.progress.borrow()
    }

    /// Waits until the fetch with this number has finished.
    pub(super) async fn ended(&self, fetch: u64) {
        let mut progress = self.0.progress.subscribe();
        // The sender lives as long as self.
        let _ = progress.wait_for(|it| it.ended >= fetch).await;
    }

    /// Requests a fetch because no key has the ID `kid`.
    pub(super) fn request_fetch(&self, kid: &str, now: BootTime) -> FetchRequest {
        let mut budget = self.0.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = self.progress();
        let last = progress.begun.max(budget.allowed);
        if last > progress.ended {
            return FetchRequest::Wait(last);
        }
        match budget.take(kid, now) {
            Ok(()) => {
                budget.allowed = progress.begun + 1;
                self.0.requested.notify_one();
                FetchRequest::Wait(budget.allowed)
            }
            Err(until) => FetchRequest::Limited(until.min(progress.next.max(now))),
        }
    }
}

impl Budget {
    /// Counts a fetch caused by `kid`.
    ///
    /// # Errors
    ///
    /// The limit is reached; returns when the ID may cause a fetch.
    fn take(&mut self, kid: &str, now: BootTime) -> Result<(), BootTime> {
        self.causes.retain(|(at, _)| now.since(*at) < PERIOD);
        if let Some((at, _)) = self.causes.iter().find(|(_, cause)| cause == kid) {
            return Err(*at + PERIOD);
        }
        match self.causes.first() {
            Some((at, _)) if self.causes.len() >= MAX_FETCHES => Err(*at + PERIOD),
            _ => {
                self.causes.push((now, kid.to_owned()));
                Ok(())
            }
        }
    }
}

impl DemandReceiver {
    /// Waits until a fetch is requested.
    pub async fn requested(&self) {
        self.0.requested.notified().await;
    }

    /// Notes that a fetch starts. It serves all requests so far.
    pub fn begin(&self) {
        self.0.progress.send_modify(|it| it.begun += 1);
        let _ = self.requested().now_or_never();
    }

    /// Notes that the fetch has finished and when the next one is planned.
    pub fn end(&self, succeeded: bool, next: BootTime) {
        self.0.progress.send_modify(|it| {
            it.ended = it.begun;
            if succeeded {
                it.succeeded = it.begun;
            }
            it.next = next;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, WallTime};

    #[tokio::test(start_paused = true)]
    async fn unknown_key_ids_cause_up_to_two_fetches_in_30_seconds() {
        let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
        let now = || clock.now().boot;
        let began = now();
        let demand = Demand::new(began);
        let fetcher = demand.receiver();
        let fetch = || {
            fetcher.begin();
            fetcher.end(true, began + Duration::from_secs(300));
        };
        fetch();
        let requested = || fetcher.requested().now_or_never().is_some();
        assert_eq!(demand.request_fetch("a", now()), FetchRequest::Wait(2));
        assert_eq!(demand.request_fetch("b", now()), FetchRequest::Wait(2), "same fetch");
        assert!(requested());
        fetcher.begin();
        assert_eq!(demand.request_fetch("c", now()), FetchRequest::Wait(2));
        assert!(!requested());
        fetcher.end(true, began + Duration::from_secs(300));
        assert_eq!(demand.request_fetch("a", now()), FetchRequest::Limited(began + PERIOD));
        assert_eq!(demand.request_fetch("b", now()), FetchRequest::Wait(3), "second fetch");
        fetch();
        for other in 0..1_000 {
            assert_eq!(
                demand.request_fetch(&other.to_string(), now()),
                FetchRequest::Limited(began + PERIOD)
            );
        }
        assert!(!requested());
        tokio::time::advance(PERIOD).await;
        assert_eq!(demand.request_fetch("a", now()), FetchRequest::Wait(4));
    }
}
