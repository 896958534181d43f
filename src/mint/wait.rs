//! Limits how long a call waits, for a grant and for its caller's quota together.

use std::time::Duration;

use tokio::time::Instant;

use super::{RESPONSE_ALLOWANCE, plan::Plan, quota::Quota};

/// The longest wait of any call.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// How long a call may wait, counted from the moment it first has to.
pub(super) struct WaitLimit<'a> {
    max_wait: Duration,
    deadline: Option<Instant>,
    until: Option<Instant>,
    pub(super) quota: &'a dyn Quota,
}

impl<'a> WaitLimit<'a> {
    pub(super) fn new(plan: &Plan, deadline: Option<Instant>, quota: &'a dyn Quota) -> Self {
        Self { max_wait: plan.max_wait, deadline, until: None, quota }
    }

    /// The instant at which the wait ends.
    pub(super) fn until(&mut self) -> Instant {
        let (max_wait, deadline) = (self.max_wait, self.deadline);
        *self.until.get_or_insert_with(|| {
            let now = Instant::now();
            let latest = now + max_wait.min(MAX_WAIT);
            match deadline {
                Some(deadline) => {
                    latest.min(deadline.checked_sub(RESPONSE_ALLOWANCE).unwrap_or(now))
                }
                None => latest,
            }
        })
    }
}
