//! How long a call may be held, for a grant and for its caller's quota together.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    minter::{ANSWER_ALLOWANCE, Cause, Minter, Plan, Unserved},
    quota::Quota,
};
use crate::drain::Phase;

/// How long a call waits at the most.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// For how long a call may be held, from the moment at which it first has to be.
pub(super) struct Hold<'a> {
    max_wait: Duration,
    deadline: Option<Instant>,
    until: Option<Instant>,
    pub(super) quota: &'a dyn Quota,
}

impl<'a> Hold<'a> {
    pub(super) fn new(plan: &Plan, deadline: Option<Instant>, quota: &'a dyn Quota) -> Self {
        Self { max_wait: plan.max_wait, deadline, until: None, quota }
    }

    /// Until when it may be held.
    pub(super) fn until(&mut self) -> Instant {
        let (max_wait, deadline) = (self.max_wait, self.deadline);
        *self.until.get_or_insert_with(|| {
            let now = Instant::now();
            let patience = now + max_wait.min(LONGEST_WAIT);
            match deadline {
                Some(deadline) => {
                    patience.min(deadline.checked_sub(ANSWER_ALLOWANCE).unwrap_or(now))
                }
                None => patience,
            }
        })
    }
}

impl Minter {
    /// Waits until its caller's quota should hold what a call needs; that is in `refill`.
    ///
    /// # Errors
    ///
    /// That is too late, too many wait already, or the server goes away.
    pub(super) async fn wait_for_units(
        &self,
        refill: Duration,
        hold: &mut Hold<'_>,
    ) -> Result<(), Unserved> {
        let over = Unserved { cause: Cause::QuotaExceeded, retry_in: refill };
        if Instant::now() + refill > hold.until() {
            return Err(over);
        }
        let _place = hold.quota.wait_for_units().ok_or(over)?;
        tokio::select! {
            () = sleep(refill) => Ok(()),
            () = self.drain.wait(Phase::Draining) => Err(Self::draining()),
        }
    }
}
