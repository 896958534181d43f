//! What calls want of the write side: an issuer's keys sooner than planned.
//!
//! A key's id is the claim of a stranger, so what it can cause is bounded: of the unknown ids of
//! 30 s, the first causes one fetch and the first other one a second.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};

use crate::clock::BootTime;

/// The time in which unknown ids cause two fetches at most.
const PERIOD: Duration = Duration::from_secs(30);

/// The fetches that unknown ids cause in that time.
const FETCHES: usize = 2;

/// The fetches of an issuer's keys, by their numbers from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The last that began.
    pub begun: u64,
    /// The last that ended.
    pub ended: u64,
    /// The last that brought keys.
    pub succeeded: u64,
    /// When the next is planned.
    pub next: BootTime,
}

/// The calls' end.
#[derive(Debug)]
pub(super) struct Demand(Arc<Shared>);

/// The fetcher's end.
#[derive(Debug)]
pub struct Demanded(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    progress: watch::Sender<Progress>,
    asked: Notify,
    budget: Mutex<Budget>,
}

/// What comes of asking for a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The fetch of this number will tell.
    Wait(u64),
    /// None may begin before this.
    Held(BootTime),
}

/// What unknown ids have caused.
#[derive(Debug, Default)]
struct Budget {
    causes: Vec<(BootTime, String)>,
    /// The fetch that was granted last.
    granted: u64,
}

impl Demand {
    /// A demand, before the first fetch, which is to begin at once: `now`.
    pub(super) fn new(now: BootTime) -> Self {
        let progress = Progress { begun: 0, ended: 0, succeeded: 0, next: now };
        let (progress, _) = watch::channel(progress);
        let (asked, budget) = <_>::default();
        Self(Arc::new(Shared { progress, asked, budget }))
    }

    /// The fetcher's end.
    pub(super) fn fetcher_end(&self) -> Demanded {
        Demanded(Arc::clone(&self.0))
    }

    pub(super) fn progress(&self) -> Progress {
        *self.0.progress.borrow()
    }

    /// Waits until the fetch of this number has ended.
    pub(super) async fn ended(&self, fetch: u64) {
        let mut progress = self.0.progress.subscribe();
        // The sender lasts as long as self.
        let _ = progress.wait_for(|it| it.ended >= fetch).await;
    }

    /// Asks for a fetch, since there is no key of the id `kid`.
    pub(super) fn ask(&self, kid: &str, now: BootTime) -> Asked {
        let mut budget = self.0.budget.lock().unwrap_or_else(PoisonError::into_inner);
        let progress = self.progress();
        let last = progress.begun.max(budget.granted);
        if last > progress.ended {
            return Asked::Wait(last);
        }
        match budget.take(kid, now) {
            Ok(()) => {
                budget.granted = progress.begun + 1;
                self.0.asked.notify_one();
                Asked::Wait(budget.granted)
            }
            Err(until) => Asked::Held(until.min(progress.next.max(now))),
        }
    }
}

impl Budget {
    /// # Errors
    ///
    /// The id may cause no fetch now: when it may.
    fn take(&mut self, kid: &str, now: BootTime) -> Result<(), BootTime> {
        self.causes.retain(|(at, _)| now.since(*at) < PERIOD);
        if let Some((at, _)) = self.causes.iter().find(|(_, cause)| cause == kid) {
            return Err(*at + PERIOD);
        }
        match self.causes.first() {
            Some((at, _)) if self.causes.len() >= FETCHES => Err(*at + PERIOD),
            _ => {
                self.causes.push((now, kid.to_owned()));
                Ok(())
            }
        }
    }
}

impl Demanded {
    /// Waits until somebody asks.
    pub async fn asked(&self) {
        self.0.asked.notified().await;
    }

    /// A fetch begins: what was asked so far is answered by it.
    pub fn begin(&self) {
        self.0.progress.send_modify(|it| it.begun += 1);
        let _ = self.asked().now_or_never();
    }

    /// It ended; the next is planned for then.
    pub fn end(&self, succeeded: bool, next: BootTime) {
        self.0.progress.send_modify(|it| {
            it.ended = it.begun;
            if succeeded {
                it.succeeded = it.begun;
            }
            it.next = next;
        });
    }

    /// The fetches so far.
    #[must_use]
    pub fn progress(&self) -> Progress {
        *self.0.progress.borrow()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, WallTime};

    #[tokio::test(start_paused = true)]
    async fn unknown_ids_cause_two_fetches_in_30_seconds_and_one_id_causes_one() {
        let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
        let now = || clock.now().boot;
        let began = now();
        let demand = Demand::new(began);
        let fetcher = demand.fetcher_end();
        let fetch = || {
            fetcher.begin();
            fetcher.end(true, began + Duration::from_secs(300));
        };
        fetch();
        let asked = || fetcher.asked().now_or_never().is_some();
        assert_eq!(demand.ask("a", now()), Asked::Wait(2));
        assert_eq!(demand.ask("b", now()), Asked::Wait(2), "the same fetch tells");
        assert!(asked());
        fetcher.begin();
        assert_eq!(demand.ask("c", now()), Asked::Wait(2));
        assert!(!asked());
        fetcher.end(true, began + Duration::from_secs(300));
        assert_eq!(demand.ask("a", now()), Asked::Held(began + PERIOD));
        assert_eq!(demand.ask("b", now()), Asked::Wait(3), "the reserve");
        fetch();
        for other in 0..1_000 {
            assert_eq!(demand.ask(&other.to_string(), now()), Asked::Held(began + PERIOD));
        }
        assert!(!asked());
        tokio::time::advance(PERIOD).await;
        assert_eq!(demand.ask("a", now()), Asked::Wait(4));
    }
}
