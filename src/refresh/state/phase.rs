//! The phase of a refresh, and what it keeps between attempts.

use std::time::Duration;

use crate::{
    clock::BootTime,
    grant::{Fault, Life, RefreshState},
    source::backoff::MIN_BACKOFF,
};

/// What the refresh is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The next attempt starts at `due`. Demand may bring it forward.
    Planned { due: BootTime },
    /// The account's budget has no permit before `due`. Demand does not bring it forward.
    Busy { due: BootTime },
    /// A caller ordered the next attempt, which starts at `due`.
    Ordered { due: BootTime },
    /// An attempt is running. `demanded`: a caller needs a newer grant.
    Attempting { started: BootTime, demanded: bool },
}

impl Phase {
    /// When the next attempt starts. During an attempt: when that started.
    pub(super) const fn due(self) -> BootTime {
        match self {
            Self::Planned { due } | Self::Busy { due } | Self::Ordered { due } => due,
            Self::Attempting { started, .. } => started,
        }
    }

    pub(super) const fn is_attempting(self) -> bool {
        matches!(self, Self::Attempting { .. })
    }

    /// Moves the start of the next attempt. A running attempt is not affected.
    pub(super) const fn move_to(&mut self, start: BootTime) {
        match self {
            Self::Planned { due } | Self::Busy { due } | Self::Ordered { due } => *due = start,
            Self::Attempting { .. } => {}
        }
    }
}

/// The current grant.
#[derive(Clone, Copy, Debug)]
pub(super) struct Current {
    pub(super) life: Life,
    /// Whether the last try before its end of life was made.
    pub(super) last_try_spent: bool,
}

/// The last attempt that ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) started: BootTime,
    pub(super) ended: BootTime,
}

/// What has gone wrong since the last success.
#[derive(Debug)]
pub(super) struct Health {
    pub(super) refresh: RefreshState,
    pub(super) last_fault: Option<Fault>,
    pub(super) failures: u32,
    /// Failures whose class is credential, resource or misconfigured.
    pub(super) refusals: u32,
    /// The last back-off.
    pub(super) pause: Duration,
}

impl Health {
    pub(super) const GOOD: Self = Self {
        refresh: RefreshState::Ok,
        last_fault: None,
        failures: 0,
        refusals: 0,
        pause: MIN_BACKOFF,
    };

    pub(super) fn count_failure(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }
}
