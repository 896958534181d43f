//! Where grants come from: the [`GrantSource`] trait, the one HTTP exchange that providers
//! build theirs on, and the account's budget around it.

pub mod backoff;
pub mod base_url;
pub mod budget;
pub mod dns;
pub mod http;
pub mod json;
mod mark;
pub mod metered;
pub mod replaceable;
mod skew;

use std::{fmt, time::Duration};

use futures_util::future::BoxFuture;

pub use self::mark::Mark;
use crate::{
    clock::{Anchor, BootTime},
    grant::{Content, Fault, FaultClass},
    name::Resource,
};

/// How much hangs on an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A live grant is there, and has time.
    Early,
    /// The last try before a live grant's end: goes past what the account is held for.
    LastTry,
    /// There is no live grant.
    Lapsed,
    /// A caller ordered it: goes past a refused credential, which may have been fixed, but not
    /// past a Retry-After.
    Ordered,
}

/// One attempt's request.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// What the grant is for.
    pub resource: Resource,
    /// How much hangs on it.
    pub urgency: Urgency,
    /// Waiting for the budget past this instant is no use.
    pub give_up_at: BootTime,
}

/// How long a grant lasts, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The answer itself states how long it remains.
    Stated(Duration),
    /// The life that was asked for, or that is configured.
    Assumed(Duration),
}

impl Granted {
    /// The life, whoever says so.
    #[must_use]
    pub const fn ttl(self) -> Duration {
        match self {
            Self::Stated(ttl) | Self::Assumed(ttl) => ttl,
        }
    }
}

/// A grant as it came.
pub struct Fetched {
    /// What the upstream gave.
    pub content: Content,
    /// Both clocks, after the budget let the call through and before connecting.
    pub anchor: Anchor,
    /// How long it lasts from there on.
    pub granted: Granted,
    /// What tells it from another.
    pub mark: Mark,
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched").field("granted", &self.granted).finish_non_exhaustive()
    }
}

/// Why an attempt brought no grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It was made and failed.
    #[error("{fault}")]
    Failed {
        /// Why.
        fault: Fault,
        /// How long not to ask again, from the answer on: what the upstream asked to wait;
        /// above the budget, as long as the account is held.
        retry_after: Option<Duration>,
    },
    /// The account's budget holds it until then: nothing was sent, or what was sent failed
    /// without saying anything about that hold.
    #[error("held ({})", class.as_str())]
    Held {
        /// Why the account is held.
        class: FaultClass,
        /// When it is worth trying again.
        until: BootTime,
    },
    /// It was answered, with a grant that is no better than the present one.
    #[error("{0}")]
    NothingNew(Fault),
}

impl From<Fault> for FetchError {
    fn from(fault: Fault) -> Self {
        Self::Failed { fault, retry_after: None }
    }
}

/// Where grants come from. Sources are stacked: a budget right around the HTTP call, so that
/// nothing goes past it.
pub trait GrantSource: Send + Sync {
    /// Makes one attempt.
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>>;

    /// How many seconds the upstream's clock is ahead of ours; none before an answer that says
    /// what time it is there.
    fn clock_skew(&self) -> Option<f64> {
        None
    }
}
