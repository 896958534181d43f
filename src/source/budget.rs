//! The budget of one upstream account: a request rate with a burst, a limit of concurrent
//! requests, and the waits that the upstream requested for the whole account. It is directly
//! around the HTTP request, so that no request bypasses it, whatever the logic above does.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use fastrand::Rng;
use futures_util::{FutureExt, future::BoxFuture};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{
    FetchError, FetchRequest, Fetched, GrantSource, Urgency,
    backoff::{MAX_BACKOFF, MAX_RETRY_AFTER, MIN_BACKOFF, PROBE_INTERVAL, next_pause},
};
use crate::{
    clock::{BootTime, Clock},
    grant::{Fault, FaultClass},
};

/// An account's request limits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Requests per second.
    pub rate: u32,
    /// Requests at once after an idle time.
    pub burst: u32,
    /// Requests in flight.
    pub concurrent: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rate: 10, burst: 10, concurrent: 8 }
    }
}

/// What a budget has left at one instant, for reports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Usage {
    /// The limits.
    pub limits: Limits,
    /// Requests in flight.
    pub in_flight: u32,
    /// Requests that may be sent at once.
    pub available: u32,
    /// Why the account is held, and for how long.
    pub hold: Option<(FaultClass, Duration)>,
}

/// One account's budget, shared by all its profiles.
#[derive(Debug)]
pub struct Budget {
    clock: Clock,
    limits: Limits,
    in_flight: Semaphore,
    account: Mutex<Account>,
}

#[derive(Debug)]
struct Account {
    /// When the rate has paid for all requests sent so far.
    paid: BootTime,
    /// The upstream requested that the account waits until then.
    throttled_until: Option<BootTime>,
    refused: Option<Refused>,
    /// Consecutive credential refusals.
    refusals: u32,
    pause: Duration,
    rng: Rng,
}

/// The credential is refused.
#[derive(Clone, Copy, Debug)]
struct Refused {
    /// When one request may probe it.
    probe_at: BootTime,
    /// When a running probe has its response at the latest.
    done_by: BootTime,
}

impl Budget {
    /// A full budget.
    #[must_use]
    pub fn new(limits: Limits, clock: Clock, rng: Rng) -> Self {
        let account = Account {
            paid: clock.now().boot,
            throttled_until: None,
            refused: None,
            refusals: 0,
            pause: MIN_BACKOFF,
            rng,
        };
        let in_flight = Semaphore::new(limits.concurrent.max(1) as usize);
        Self { clock, limits, in_flight, account: Mutex::new(account) }
    }

    /// What is left now.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let now = self.clock.now().boot;
        let (limits, free) = (self.limits, self.in_flight.available_permits());
        let account = self.account();
        let price = Duration::from_secs(1) / limits.rate.max(1);
        let spent = account.paid.since(now).div_duration_f64(price).ceil();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        let spent = spent as u32;
        Usage {
            limits,
            in_flight: limits.concurrent.saturating_sub(u32::try_from(free).unwrap_or(u32::MAX)),
            available: limits.burst.saturating_sub(spent),
            hold: account.hold(now).map(|(class, until)| (class, until.since(now))),
        }
    }

    /// Admits a request, which takes up to `attempt` from then on. Waits first if the wait ends
    /// before the request's `give_up_at`.
    async fn admit(
        &self,
        request: &FetchRequest,
        attempt: Duration,
    ) -> Result<SemaphorePermit<'_>, FetchError> {
        let now = self.clock.now().boot;
        self.account().check_hold(now, request.urgency)?;

        let permit = self.acquire(request).await?;
        // The account may have been held during the wait.
        let mut account = self.account();
        let now = self.clock.now().boot;
        account.check_hold(now, request.urgency)?;
        account.probe(now, attempt);
        drop(account);
        Ok(permit)
    }

    /// Acquires a permit for a concurrent request, and waits for its turn in the rate.
    async fn acquire(&self, request: &FetchRequest) -> Result<SemaphorePermit<'_>, FetchError> {
        let patience = request.give_up_at.since(self.clock.now().boot);
        let acquired = tokio::time::timeout(patience, self.in_flight.acquire()).await;
        let Ok(Ok(permit)) = acquired else { return Err(busy(request.give_up_at)) };
        let turn = self.take_turn(request)?;
        tokio::time::sleep(turn).await;
        Ok(permit)
    }

    /// Fetches from `source`, whose credential is not in use yet, within the rate and never while
    /// the account is throttled. A refusal of that credential does not hold the account.
    ///
    /// # Errors
    ///
    /// Those of any attempt.
    pub async fn try_out(
        &self,
        source: &dyn GrantSource,
        request: FetchRequest,
    ) -> Result<Fetched, FetchError> {
        self.account().check_throttled(self.clock.now().boot)?;
        let _permit = self.acquire(&request).await?;
        self.account().check_throttled(self.clock.now().boot)?;
        let urgency = request.urgency;
        let result = source.fetch(request).await;
        match &result {
            Err(FetchError::Failed { fault, .. }) if fault.class == FaultClass::Throttled => {
                self.remember(result, urgency)
            }
            _ => result,
        }
    }

    /// Clears a refusal of the account's credential, which was replaced.
    pub fn credential_replaced(&self) {
        self.account().credential_accepted();
    }

    /// Reserves the next turn in the rate, and returns the time until then.
    fn take_turn(&self, request: &FetchRequest) -> Result<Duration, FetchError> {
        let price = Duration::from_secs(1) / self.limits.rate.max(1);
        let ahead = price * self.limits.burst.saturating_sub(1);
        let now = self.clock.now().boot;
        let mut account = self.account();
        let paid = account.paid.max(now);
        let turn = paid - ahead;
        if turn > now && turn >= request.give_up_at {
            return Err(busy(turn));
        }
        account.paid = paid + price;
        Ok(turn.since(now))
    }

    /// Records what concerns the whole account. A failure unrelated to the account's hold leaves the
    /// hold in place and is reported as the hold. A throttled request is reported with the time for
    /// which the account is held, whichever request caused that.
    fn remember(
        &self,
        result: Result<Fetched, FetchError>,
        urgency: Urgency,
    ) -> Result<Fetched, FetchError> {
        let now = self.clock.now().boot;
        let mut account = self.account();
        match result {
            Ok(fetched) => {
                account.credential_accepted();
                Ok(fetched)
            }
            Err(FetchError::Failed { fault, retry_after }) => {
                account.fault(&fault, retry_after, urgency, now);
                let retry_after = match fault.class {
                    FaultClass::Throttled => account.hold(now).map(|(_, until)| until.since(now)),
                    FaultClass::Transient => {
                        account.check_hold(now, Urgency::Early)?;
                        retry_after
                    }
                    _ => retry_after,
                };
                Err(FetchError::Failed { fault, retry_after })
            }
            Err(FetchError::Held { .. } | FetchError::NothingNew(_)) => result,
        }
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The account's own budget is exhausted; the upstream has no fault.
const fn busy(until: BootTime) -> FetchError {
    FetchError::Held { class: FaultClass::Transient, until }
}

impl Account {
    fn check_hold(&self, now: BootTime, urgency: Urgency) -> Result<(), FetchError> {
        match (urgency, self.hold(now)) {
            (Urgency::LastTry, _) | (_, None) => Ok(()),
            (Urgency::Ordered, Some(_)) => self.check_throttled(now),
            (Urgency::Early | Urgency::Lapsed, Some((class, until))) => {
                Err(FetchError::Held { class, until })
            }
        }
    }

    fn check_throttled(&self, now: BootTime) -> Result<(), FetchError> {
        match self.throttled_until.filter(|until| *until > now) {
            Some(until) => Err(FetchError::Held { class: FaultClass::Throttled, until }),
            None => Ok(()),
        }
    }

    /// Why the account is held at `now`, and until when.
    fn hold(&self, now: BootTime) -> Option<(FaultClass, BootTime)> {
        let throttled = self.throttled_until.filter(|until| *until > now);
        let refused = self
            .refused
            .map(|refused| if refused.done_by > now { refused.done_by } else { refused.probe_at });
        match (refused, throttled) {
            (Some(probe), Some(until)) => Some((FaultClass::Credential, probe.max(until))),
            (Some(probe), None) if probe > now => Some((FaultClass::Credential, probe)),
            (None, Some(until)) => Some((FaultClass::Throttled, until)),
            _ => None,
        }
    }

    /// While the credential is refused, the request admitted is the interval's single probe. Other
    /// requests retry when the probe has its response.
    fn probe(&mut self, now: BootTime, attempt: Duration) {
        if let Some(refused) = &mut self.refused {
            *refused = Refused { probe_at: now + PROBE_INTERVAL, done_by: now + attempt };
        }
    }

    /// The credential was accepted. A wait that the upstream requested stays in force: this request
    /// may have been sent before.
    fn credential_accepted(&mut self) {
        self.refused = None;
        self.refusals = 0;
        self.pause = MIN_BACKOFF;
    }

    fn fault(
        &mut self,
        fault: &Fault,
        retry_after: Option<Duration>,
        urgency: Urgency,
        now: BootTime,
    ) {
        if let Some(refused) = &mut self.refused {
            refused.done_by = now;
        }
        match fault.class {
            FaultClass::Throttled => {
                self.pause = next_pause(self.pause, MAX_BACKOFF, &mut self.rng);
                let wait = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
                let until = now + wait.max(self.pause);
                let longest = self.throttled_until.map_or(until, |before| before.max(until));
                self.throttled_until = Some(longest);
            }
            FaultClass::Credential => {
                self.refusals = self.refusals.saturating_add(1);
                // Stray refusals happen; without a live grant, nothing is lost by the first.
                if self.refusals > 1 || urgency == Urgency::Lapsed {
                    self.refused = Some(Refused { probe_at: now + PROBE_INTERVAL, done_by: now });
                }
            }
            // An upstream that refuses the resource has accepted the credential.
            FaultClass::Resource => {
                self.refused = None;
                self.refusals = 0;
            }
            FaultClass::Transient | FaultClass::Misconfigured => {}
        }
    }
}

/// A source within a budget.
pub struct Budgeted {
    source: Arc<dyn GrantSource>,
    budget: Arc<Budget>,
    attempt: Duration,
}

impl Budgeted {
    /// Calls `source`, whose attempts take up to `attempt` each, only as `budget` allows.
    pub fn new(source: Arc<dyn GrantSource>, budget: Arc<Budget>, attempt: Duration) -> Self {
        Self { source, budget, attempt }
    }
}

impl GrantSource for Budgeted {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        async move {
            let _permit = self.budget.admit(&request, self.attempt).await?;
            let urgency = request.urgency;
            let result = self.source.fetch(request).await;
            self.budget.remember(result, urgency)
        }
        .boxed()
    }

    fn clock_skew(&self) -> Option<f64> {
        self.source.clock_skew()
    }
}

#[cfg(test)]
mod tests;
