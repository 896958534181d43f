//! The task that keeps the keys of one issuer.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tokio::{sync::watch, time::sleep};

use super::{
    Config,
    fetch::{FetchError, fetch_of},
};
use crate::{
    auth::bearer::{Demanded, Issuer, Known},
    clock::{Anchor, BootTime, Clock},
    telemetry::IssuerMetrics,
};

/// How often keys are fetched.
const PERIOD: Duration = Duration::from_secs(300);

/// The part of a pause that is jitter.
const JITTER: f64 = 0.1;

/// The pauses after failures: doubled from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How long keys count while fetching fails.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Fetches what is to be known of an issuer, which may call itself this.
type Fetch = Box<
    dyn Fn(Arc<Config>, Option<String>) -> BoxFuture<'static, Result<Known, FetchError>>
        + Send
        + Sync,
>;

/// Keeps the keys of one issuer.
pub struct Keeper {
    fetch: Fetch,
    issuer: Arc<Issuer>,
    demanded: Demanded,
    config: watch::Sender<Arc<Config>>,
    clock: Clock,
    metrics: IssuerMetrics,
}

/// Why a fetch begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reason {
    Planned,
    /// A call has a key that is not known.
    Demanded,
}

impl Keeper {
    /// The keeper of an issuer; none for one whose keys are in a file.
    #[must_use]
    pub fn new(
        issuer: &Arc<Issuer>,
        config: Config,
        clock: Clock,
        metrics: IssuerMetrics,
    ) -> Option<Self> {
        let demanded = issuer.demanded()?;
        let config = watch::Sender::new(Arc::new(config));
        let (issuer, now) = (Arc::clone(issuer), clock.clone());
        let fetch: Fetch = Box::new(move |config, known| {
            let clock = now.clone();
            Box::pin(async move { fetch_of(&config, known.as_deref(), &clock).await })
        });
        Some(Self { fetch, issuer, demanded, config, clock, metrics })
    }

    /// Where another configuration is put: the next fetch follows it.
    #[must_use]
    pub fn configured(&self) -> watch::Sender<Arc<Config>> {
        self.config.clone()
    }

    /// Fetches keys for ever. A jump of a clock is a reason to look again.
    pub async fn run(self, mut jumps: watch::Receiver<()>) {
        let mut configs = self.config.subscribe();
        let mut history = History::new();
        let mut issuer: Option<String> = None;
        let mut reason = Reason::Planned;
        loop {
            let config = Arc::clone(&configs.borrow_and_update());
            self.demanded.begin();
            // A planned fetch asks anew what the issuer calls itself.
            let known = issuer.clone().filter(|_| reason == Reason::Demanded);
            let fetched = (self.fetch)(Arc::clone(&config), known).await;
            let now = self.clock.now();
            let is_published = match fetched {
                Ok(known) => {
                    issuer = Some(known.issuer.clone());
                    self.publish(&config, known, &mut history, now)
                }
                Err(error) => {
                    self.failed(&error, &mut history, now.boot);
                    false
                }
            };
            let pause = history.pause().mul_f64(1.0 - JITTER * fastrand::f64());
            self.demanded.end(is_published, now.boot + pause);
            reason = tokio::select! {
                () = sleep(pause) => Reason::Planned,
                () = self.demanded.asked() => Reason::Demanded,
                Ok(()) = configs.changed() => Reason::Planned,
                Ok(()) = jumps.changed() => Reason::Planned,
            };
        }
    }

    /// Publishes what was fetched with a configuration, if that is still the one in force. Who
    /// replaces it waits until this is done, and publishes what is newer.
    fn publish(
        &self,
        config: &Arc<Config>,
        known: Known,
        history: &mut History,
        now: Anchor,
    ) -> bool {
        let in_force = self.config.borrow();
        if !Arc::ptr_eq(&in_force, config) {
            return false;
        }
        let (issuer, keys) = (self.issuer.name().as_str(), known.keys.len());
        match history.succeeded() {
            Some(failures) => {
                tracing::info!(issuer, keys, failures, "the issuer's keys are fetched again");
            }
            None if !self.issuer.was_known() => {
                tracing::info!(issuer, keys, "the issuer's keys are fetched");
            }
            None => {}
        }
        if keys == 0 && self.issuer.keys() != Some(0) {
            tracing::warn!(issuer, "the issuer publishes no key that can verify tokens");
        }
        self.metrics.fetched(now.wall);
        self.issuer.note_fetch(Ok(now.boot));
        self.issuer.publish(known);
        true
    }

    fn failed(&self, error: &FetchError, history: &mut History, now: BootTime) {
        let issuer = self.issuer.name().as_str();
        self.issuer.note_fetch(Err(error.to_string()));
        if history.failed(error) {
            tracing::warn!(issuer, %error, "the issuer's keys cannot be fetched");
        }
        let succeeded = self.issuer.fetches().succeeded;
        let are_old = succeeded.is_some_and(|at| now.since(at) >= KEPT);
        if are_old && self.issuer.keys().is_some() {
            tracing::error!(issuer, "the issuer's keys are a day old and no longer count");
            self.issuer.lapse();
        }
    }
}

/// How the fetches went.
struct History {
    failures: u32,
    last: Option<FetchError>,
}

impl History {
    const fn new() -> Self {
        Self { failures: 0, last: None }
    }

    /// How many failures came before, if any.
    fn succeeded(&mut self) -> Option<u32> {
        self.last = None;
        let failures = std::mem::take(&mut self.failures);
        (failures > 0).then_some(failures)
    }

    /// Whether it is another failure than the last one.
    fn failed(&mut self, error: &FetchError) -> bool {
        self.failures = self.failures.saturating_add(1);
        let is_other = self.last.as_ref() != Some(error);
        self.last = Some(error.clone());
        is_other
    }

    /// How long until the next fetch.
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
