//! The budget of one upstream account: requests a second with burst, how many at once, and
//! what the upstream asked the whole account to wait for. It sits right around the HTTP call,
//! so that nothing goes past it, whatever the logic above says.

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

/// What an account may send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Requests a second.
    pub rate: u32,
    /// Requests at once after a quiet time.
    pub burst: u32,
    /// Requests in flight.
    pub concurrent: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { rate: 10, burst: 10, concurrent: 8 }
    }
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
    /// Where the rate's meter stands: the time at which all that was sent is paid for.
    paid: BootTime,
    /// The upstream asked the account to wait until then.
    throttled_until: Option<BootTime>,
    refused: Option<Refused>,
    /// Credential refusals in a row.
    refusals: u32,
    pause: Duration,
    rng: Rng,
}

/// The credential is refused.
#[derive(Clone, Copy, Debug)]
struct Refused {
    /// When one request may try it again.
    probe_at: BootTime,
    /// When that request, while it is under way, will have been answered.
    answer_by: BootTime,
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

    /// Lets a request through, which takes at most `attempt` from then on, after waiting where
    /// that wait ends in time.
    async fn admit(
        &self,
        request: &FetchRequest,
        attempt: Duration,
    ) -> Result<SemaphorePermit<'_>, FetchError> {
        let now = self.clock.now().boot;
        self.account().check_hold(now, request.urgency)?;

        let permit = self.place(request).await?;
        // The account may have been held while this waited.
        let mut account = self.account();
        let now = self.clock.now().boot;
        account.check_hold(now, request.urgency)?;
        account.probe(now, attempt);
        drop(account);
        Ok(permit)
    }

    /// A place among those in flight, at a turn of the rate.
    async fn place(&self, request: &FetchRequest) -> Result<SemaphorePermit<'_>, FetchError> {
        let patience = request.give_up_at.since(self.clock.now().boot);
        let place = tokio::time::timeout(patience, self.in_flight.acquire()).await;
        let Ok(Ok(permit)) = place else { return Err(busy(request.give_up_at)) };
        let turn = self.take_turn(request)?;
        tokio::time::sleep(turn).await;
        Ok(permit)
    }

    /// Asks `source`, whose credential is not in use yet, within the rate and never while the
    /// account is throttled. A refusal of that credential holds nobody.
    ///
    /// # Errors
    ///
    /// As any attempt's.
    pub async fn try_out(
        &self,
        source: &dyn GrantSource,
        request: FetchRequest,
    ) -> Result<Fetched, FetchError> {
        self.account().check_throttled(self.clock.now().boot)?;
        let _permit = self.place(&request).await?;
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

    /// Forgets that the account's credential was refused: it has another.
    pub fn credential_replaced(&self) {
        self.account().well();
    }

    /// Reserves the next free place in the rate, and tells how long it is away.
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

    /// Remembers what concerns the whole account. A failure that says nothing about what the
    /// account is held for leaves it held, and is told as that; who is throttled is told how
    /// long the account is held, whoever asked for that.
    fn remember(
        &self,
        result: Result<Fetched, FetchError>,
        urgency: Urgency,
    ) -> Result<Fetched, FetchError> {
        let now = self.clock.now().boot;
        let mut account = self.account();
        match result {
            Ok(fetched) => {
                account.well();
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

/// Nothing is wrong upstream, the account's own budget is used up.
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

    /// What the account is held for at `now`, and until when.
    fn hold(&self, now: BootTime) -> Option<(FaultClass, BootTime)> {
        let throttled = self.throttled_until.filter(|until| *until > now);
        let refused = self.refused.map(|refused| {
            if refused.answer_by > now { refused.answer_by } else { refused.probe_at }
        });
        match (refused, throttled) {
            (Some(probe), Some(until)) => Some((FaultClass::Credential, probe.max(until))),
            (Some(probe), None) if probe > now => Some((FaultClass::Credential, probe)),
            (None, Some(until)) => Some((FaultClass::Throttled, until)),
            _ => None,
        }
    }

    /// While the credential is refused, who gets through is the one probe of the interval;
    /// the others come back when it will have been answered.
    fn probe(&mut self, now: BootTime, attempt: Duration) {
        if let Some(refused) = &mut self.refused {
            *refused = Refused { probe_at: now + PROBE_INTERVAL, answer_by: now + attempt };
        }
    }

    /// The credential was taken. What the upstream asked to wait stands: this may have been
    /// sent before it asked.
    fn well(&mut self) {
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
            refused.answer_by = now;
        }
        match fault.class {
            FaultClass::Throttled => {
                self.pause = next_pause(self.pause, MAX_BACKOFF, &mut self.rng);
                let asked = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
                let until = now + asked.max(self.pause);
                let longest = self.throttled_until.map_or(until, |before| before.max(until));
                self.throttled_until = Some(longest);
            }
            FaultClass::Credential => {
                self.refusals = self.refusals.saturating_add(1);
                // A stray refusal happens; without a live grant nothing is lost by believing it.
                if self.refusals > 1 || urgency == Urgency::Lapsed {
                    self.refused = Some(Refused { probe_at: now + PROBE_INTERVAL, answer_by: now });
                }
            }
            // Whoever says so has taken the credential.
            FaultClass::Resource => {
                self.refused = None;
                self.refusals = 0;
            }
            FaultClass::Transient | FaultClass::Misconfigured => {}
        }
    }
}

/// A source under a budget.
pub struct Budgeted {
    source: Arc<dyn GrantSource>,
    budget: Arc<Budget>,
    attempt: Duration,
}

impl Budgeted {
    /// `source`, whose attempts take at most `attempt` each, asked only as `budget` allows.
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
