//! Sources of grants: the [`GrantSource`] trait, the HTTP exchange that providers build on, and
//! the account's budget around it.

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

pub use self::{mark::Mark, skew::TOLERANCE_SECONDS as SKEW_TOLERANCE_SECONDS};
use crate::{
    clock::{Anchor, BootTime},
    grant::{Content, Fault, FaultClass},
    name::Resource,
};

/// An attempt's priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// A live grant exists, with time before its expiry.
    Early,
    /// The last try before a live grant expires: it bypasses any hold of the account.
    LastTry,
    /// No live grant exists.
    Lapsed,
    /// A caller ordered the attempt: it bypasses the hold for a refused credential, which may have
    /// been fixed, but not a Retry-After.
    Ordered,
}

/// One attempt's request.
#[derive(Clone, Debug)]
pub struct FetchRequest {
    /// What the grant is for.
    pub resource: Resource,
    /// Its priority.
    pub urgency: Urgency,
    /// The attempt waits for the budget until this instant.
    pub give_up_at: BootTime,
}

/// A grant's life, and where it is known from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granted {
    /// The response states the remaining life.
    Stated(Duration),
    /// The life that was requested or configured.
    Assumed(Duration),
}

impl Granted {
    /// The life, wherever it is known from.
    #[must_use]
    pub const fn ttl(self) -> Duration {
        match self {
            Self::Stated(ttl) | Self::Assumed(ttl) => ttl,
        }
    }
}

/// A grant as received.
pub struct Fetched {
    /// The upstream's content.
    pub content: Content,
    /// Both clocks, read after the budget admitted the request and before connecting.
    pub anchor: Anchor,
    /// Its life from then on.
    pub granted: Granted,
    /// What distinguishes it from other grants.
    pub mark: Mark,
}

impl fmt::Debug for Fetched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetched").field("granted", &self.granted).finish_non_exhaustive()
    }
}

/// Why an attempt returned no grant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It was sent and failed.
    #[error("{fault}")]
    Failed {
        /// Why.
        fault: Fault,
        /// How long to send no request, from the response on: below the budget, the wait that the
        /// upstream requested; above it, the time for which the account is held.
        retry_after: Option<Duration>,
    },
    /// The account's budget holds it: nothing was sent, or the request failed for a reason
    /// unrelated to the hold.
    #[error("held ({})", class.as_str())]
    Held {
        /// Why the account is held.
        class: FaultClass,
        /// When the next attempt is useful.
        until: BootTime,
    },
    /// The response holds a grant that is no newer than the current one.
    #[error("{0}")]
    NothingNew(Fault),
}

impl From<Fault> for FetchError {
    fn from(fault: Fault) -> Self {
        Self::Failed { fault, retry_after: None }
    }
}

/// A source of grants. Sources are stacked; the budget is directly around the HTTP request, so that
/// no request bypasses it.
pub trait GrantSource: Send + Sync {
    /// Makes one attempt.
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>>;

    /// How many seconds the upstream's clock is ahead of ours; none before a response with its
    /// time.
    fn clock_skew(&self) -> Option<f64> {
        None
    }
}
