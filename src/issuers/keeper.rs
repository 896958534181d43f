//! The task that keeps an issuer's keys up to date.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{sync::watch, time::sleep};

use super::{
    Config,
    fetch::{FetchError, fetch_of},
};
use crate::{
    auth::bearer::{DemandReceiver, Issuer, IssuerInfo},
    clock::{Anchor, BootTime, Clock},
    telemetry::IssuerMetrics,
};

/// The interval of planned fetches.
const PERIOD: Duration = Duration::from_secs(300);

/// The random part of a pause.
const JITTER: f64 = 0.1;

/// The pause after the first failure. It doubles with each further failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long keys stay valid while fetches fail.
const MAX_KEY_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Fetches an issuer's keys. The `iss` claim may be known.
type Fetch = Box<
    dyn Fn(Arc<Config>, Option<String>) -> BoxFuture<'static, Result<IssuerInfo, FetchError>>
        + Send
        + Sync,
>;

/// Keeps an issuer's keys up to date.
pub struct Keeper {
    fetch: Fetch,
    issuer: Arc<Issuer>,
    demand: DemandReceiver,
    config: watch::Sender<Arc<Config>>,
    clock: Clock,
    metrics: IssuerMetrics,
}

/// Why a fetch starts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Planned,
    /// A call's token names an unknown key.
    Demanded,
}

impl Keeper {
    /// Creates the keeper of an issuer; `None` if its keys are in a file.
    #[must_use]
    pub fn new(
        issuer: &Arc<Issuer>,
        config: Config,
        clock: Clock,
        metrics: IssuerMetrics,
    ) -> Option<Self> {
        let demand = issuer.demand_receiver()?;
        let config = watch::Sender::new(Arc::new(config));
        let (issuer, now) = (Arc::clone(issuer), clock.clone());
        let fetch: Fetch = Box::new(move |config, known| {
            let clock = now.clone();
            Box::pin(async move { fetch_of(&config, known.as_deref(), &clock).await })
        });
        Some(Self { fetch, issuer, demand, config, clock, metrics })
    }

    /// The sender for a changed configuration. The next fetch uses it.
    #[must_use]
    pub fn configured(&self) -> watch::Sender<Arc<Config>> {
        self.config.clone()
    }

    /// Fetches keys until it is dropped. A clock jump triggers a fetch.
    pub async fn run(self, mut jumps: watch::Receiver<()>) {
        let mut configs = self.config.subscribe();
        let mut history = History::new();
        let mut issuer: Option<String> = None;
        let mut reason = Reason::Planned;
        loop {
            let config = Arc::clone(&configs.borrow_and_update());
            self.demand.begin();
            // A planned fetch also fetches the `iss` claim again.
            let known = issuer.clone().filter(|_| reason == Reason::Demanded);
            let fetched = (self.fetch)(Arc::clone(&config), known).await;
            let now = self.clock.now();
            let is_published = match fetched {
                Ok(info) => {
                    issuer = Some(info.issuer.clone());
                    self.publish(&config, info, &mut history, now)
                }
                Err(error) => {
                    self.failed(&error, &mut history, now.boot);
                    false
                }
            };
            let pause = history.pause().mul_f64(1.0 - JITTER * fastrand::f64());
            self.demand.end(is_published, now.boot + pause);
            reason = tokio::select! {
                () = sleep(pause) => Reason::Planned,
                () = self.demand.requested() => Reason::Demanded,
                Ok(()) = configs.changed() => Reason::Planned,
                Ok(()) = jumps.changed() => Reason::Planned,
            };
        }
    }

    /// Publishes keys, if they were fetched with the current configuration. A concurrent change of
    /// the configuration waits until this is done.
    fn publish(
        &self,
        config: &Arc<Config>,
        info: IssuerInfo,
        history: &mut History,
        now: Anchor,
    ) -> bool {
        let current = self.config.borrow();
        if !Arc::ptr_eq(&current, config) {
            return false;
        }
        let (issuer, keys) = (self.issuer.name().as_str(), info.keys.len());
        match history.succeeded() {
            Some(failures) => {
                tracing::info!(issuer, keys, failures, "fetching issuer keys recovered");
            }
            None if !self.issuer.was_known() => {
                tracing::info!(issuer, keys, "issuer keys fetched");
            }
            None => {}
        }
        if keys == 0 && self.issuer.keys() != Some(0) {
            tracing::warn!(issuer, "issuer publishes no usable key; all its tokens are refused");
        }
        self.metrics.fetched(now.wall);
        self.issuer.note_fetch(Ok(now.boot));
        self.issuer.publish(info);
        true
    }

    fn failed(&self, error: &FetchError, history: &mut History, now: BootTime) {
        let issuer = self.issuer.name().as_str();
        self.issuer.note_fetch(Err(error.to_string()));
        if history.failed(error) {
            tracing::warn!(issuer, %error, "fetching issuer keys failed; retrying");
        }
        let succeeded = self.issuer.fetches().succeeded;
        let are_old = succeeded.is_some_and(|at| now.since(at) >= MAX_KEY_AGE);
        if are_old && self.issuer.keys().is_some() {
            tracing::error!(issuer, "issuer keys expired: no successful fetch for 24 h");
            self.issuer.lapse();
        }
    }
}

/// The recent failures.
struct History {
    failures: u32,
    last: Option<FetchError>,
}

impl History {
    const fn new() -> Self {
        Self { failures: 0, last: None }
    }

    /// Resets the history. Returns the number of failures before, if any.
    fn succeeded(&mut self) -> Option<u32> {
        self.last = None;
        let failures = std::mem::take(&mut self.failures);
        (failures > 0).then_some(failures)
    }

    /// Counts a failure. Returns whether it differs from the last one.
    fn failed(&mut self, error: &FetchError) -> bool {
        self.failures = self.failures.saturating_add(1);
        let is_other = self.last.as_ref() != Some(error);
        self.last = Some(error.clone());
        is_other
    }

    /// The pause until the next fetch.
    fn pause(&self) -> Duration {
        match self.failures {
            0 => PERIOD,
            failures => {
                let doubled = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(16));
                doubled.min(LONGEST_PAUSE)
            }
        }
    }
}

#[cfg(test)]
mod tests;
