//! Clients that are not authenticated: counted all, logged once a minute by address and cause.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{cause::Cause, trust::Refused};
use crate::{
    auth::peer::network,
    telemetry::{Counts, Metrics},
};

/// A line of the same address and cause is not written again for that long.
const QUIET: Duration = Duration::from_secs(60);

/// Pairs of address and cause that are remembered. While there are more, those are counted and
/// not logged: strangers must not fill the memory, nor the log.
const REMEMBERED: usize = 1_024;

pub(super) struct Failures {
    counts: Counts,
    logged: Mutex<HashMap<(IpAddr, Cause), Instant>>,
}

impl Failures {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let counts = metrics.authentication_failures(&Cause::ALL.map(Cause::as_str));
        Self { counts, logged: Mutex::default() }
    }

    pub(super) fn record(&self, from: IpAddr, refused: &Refused) {
        let Refused { cause, claim } = refused;
        self.counts.add(cause.as_str());
        if self.is_news(network(from), *cause) {
            let (address, cause) = (from.to_canonical(), cause.as_str());
            tracing::warn!(%address, cause, name = claim, "a client is not authenticated");
        }
    }

    fn is_news(&self, from: IpAddr, cause: Cause) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_recent = |at: &Instant| now.duration_since(*at) < QUIET;
        if logged.get(&(from, cause)).is_some_and(is_recent) {
            return false;
        }
        if logged.len() >= REMEMBERED {
            logged.retain(|_, at| is_recent(at));
        }
        if logged.len() >= REMEMBERED {
            return false;
        }
        logged.insert((from, cause), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_address_and_cause_is_news_once_a_minute_and_the_memory_is_bounded() {
        let failures = Failures::new(&Metrics::default());
        let address = |last: u32| IpAddr::V4((0x0a00_0000 | last).into());
        assert!(failures.is_news(address(0), Cause::Expired));
        assert!(!failures.is_news(address(0), Cause::Expired));
        assert!(failures.is_news(address(0), Cause::UnknownCa));
        for last in 1..5_000 {
            failures.is_news(address(last), Cause::Expired);
        }
        assert_eq!(failures.logged.lock().unwrap().len(), REMEMBERED);
        tokio::time::advance(QUIET).await;
        assert!(failures.is_news(address(0), Cause::Expired));
        assert_eq!(failures.logged.lock().unwrap().len(), 1);
    }
}
