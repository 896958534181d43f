//! Grants and their status: everything that the write side and the read side share.
//!
//! A [`cell::Publisher`] stores a grant, a [`cell::Reader`] loads it without a lock. Requests of
//! a reader to the write side travel back as [`demand`].

pub mod cell;
mod content;
pub mod demand;
pub mod history;
pub mod table;

use std::{borrow::Cow, fmt, time::Duration};

pub use self::content::Content;
use crate::clock::{Anchor, BootTime, WallTime};

/// How far the wall clock may run ahead of the boot clock before a grant counts as older than
/// the boot clock indicates.
const WALL_TOLERANCE: Duration = Duration::from_secs(2);

/// A short-lived grant of an upstream, shared by all players of one resource. A secret.
pub struct Grant {
    content: Content,
    life: Life,
}

impl Grant {
    /// A grant with this content, requested at `anchor` and valid for `ttl` from then on.
    #[must_use]
    pub fn new(content: Content, anchor: Anchor, ttl: Duration, generation: Generation) -> Self {
        Self { content, life: Life { anchor, ttl, generation } }
    }

    /// The upstream's content, verbatim.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// Its start and duration.
    #[must_use]
    pub fn life(&self) -> Life {
        self.life
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("life", &self.life).finish_non_exhaustive()
    }
}

/// A grant's start and duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Both clocks, read just before the request to the upstream.
    pub anchor: Anchor,
    /// Its duration from then on.
    pub ttl: Duration,
    /// Its label.
    pub generation: Generation,
}

impl Life {
    /// The remaining life at `now`. The clock that indicates the older grant wins, and a wall clock
    /// set back changes nothing.
    #[must_use]
    pub fn left(&self, now: Anchor) -> Duration {
        let by_boot = (self.anchor.boot + self.ttl).since(now.boot);
        let by_wall = (self.anchor.wall + self.ttl + WALL_TOLERANCE).since(now.wall);
        by_boot.min(by_wall)
    }

    /// Whether tokens may be minted with it at `now`.
    #[must_use]
    pub fn is_live(&self, now: Anchor, margin: Duration) -> bool {
        self.left(now) > margin
    }

    /// When it expires or expired, by the wall clock of `now`: never a stored wall time, since that
    /// clock may have been stepped.
    #[must_use]
    pub fn end(&self, now: Anchor) -> WallTime {
        let by_boot = now.wall_at(self.anchor.boot + self.ttl);
        by_boot.min(self.anchor.wall + self.ttl + WALL_TOLERANCE)
    }
}

/// A grant's label, for comparison between replicas: the microseconds of the wall clock at the
/// request, or one more than the last label. Order inside a process is by anchor, never by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(i64);

impl Generation {
    /// Older than every grant.
    pub const NONE: Self = Self(0);

    /// The label of a grant requested at `wall`, after one labeled `last`.
    #[must_use]
    pub fn after(last: Self, wall: WallTime) -> Self {
        Self(wall.unix_micros().max(last.0.saturating_add(1)))
    }

    /// The value that callers see.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// From the value that a caller sent.
    #[must_use]
    pub const fn from_caller(value: i64) -> Self {
        Self(value)
    }
}

/// A fault's class, decided where the fault occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// Recovers without action.
    Transient,
    /// The upstream limits the whole account.
    Throttled,
    /// The credential is refused.
    Credential,
    /// The resource is refused.
    Resource,
    /// The configuration is wrong.
    Misconfigured,
}

impl FaultClass {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Transient, Self::Throttled, Self::Credential, Self::Resource, Self::Misconfigured];

    /// Whether it recovers without an operator's action.
    #[must_use]
    pub const fn recovers(self) -> bool {
        matches!(self, Self::Transient | Self::Throttled)
    }

    /// The class in one lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Credential => "credential",
            Self::Resource => "resource",
            Self::Misconfigured => "misconfigured",
        }
    }
}

/// Why an attempt failed: a class and a reason in `UPPER_SNAKE_CASE`, never text from an
/// upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its class.
    pub class: FaultClass,
    /// Its reason.
    pub reason: Cow<'static, str>,
    /// Whether the upstream reported that the resource does not exist (404, 410).
    pub not_found: bool,
}

impl Fault {
    /// A fault of this class and reason.
    #[must_use]
    pub const fn new(class: FaultClass, reason: &'static str) -> Self {
        Self { class, reason: Cow::Borrowed(reason), not_found: false }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.class.as_str())
    }
}

/// The state of one grant's refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshState {
    /// It runs as planned.
    Ok,
    /// The last attempt failed with a fault that recovers without action.
    Retrying,
    /// The upstream limits the account.
    Throttled,
    /// The upstream refuses; an operator must act.
    Rejected,
}

/// Whether tokens can be minted with a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantState {
    /// No grant was received yet.
    Pending,
    /// They can.
    Live,
    /// Its life, less the margin, has ended.
    Expired,
}

impl GrantState {
    /// The state in one lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Live => "live",
            Self::Expired => "expired",
        }
    }
}

impl RefreshState {
    /// The state in one lower-case word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Retrying => "retrying",
            Self::Throttled => "throttled",
            Self::Rejected => "rejected",
        }
    }
}

/// One grant's status, as its keeper last reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The current grant's life; none before the first grant.
    pub life: Option<Life>,
    /// The state of the refresh.
    pub refresh: RefreshState,
    /// When the next attempt starts; during an attempt, when that started.
    pub next_attempt: Option<BootTime>,
    /// When it would start on demand at this moment; in the past where nothing prevents an
    /// immediate start.
    pub next_if_demanded: Option<BootTime>,
    /// Whether an attempt is running.
    pub attempting: bool,
    /// The duration of an attempt: the mean of recent successes, 0.5 s before any.
    pub usual_latency: Duration,
    /// The last attempt's fault; none after a success.
    pub last_fault: Option<Fault>,
    /// Failed attempts since the last success.
    pub consecutive_failures: u32,
}

impl Status {
    /// The status before the first attempt.
    #[must_use]
    pub const fn unknown() -> Self {
        Self {
            life: None,
            refresh: RefreshState::Ok,
            next_attempt: None,
            next_if_demanded: None,
            attempting: false,
            usual_latency: Duration::from_millis(500),
            last_fault: None,
            consecutive_failures: 0,
        }
    }

    /// Whether tokens can be minted at `now`.
    #[must_use]
    pub fn state(&self, now: Anchor, margin: Duration) -> GrantState {
        match self.life {
            None => GrantState::Pending,
            Some(life) if life.is_live(now, margin) => GrantState::Live,
            Some(_) => GrantState::Expired,
        }
    }

    /// Whether the upstream last reported that the resource does not exist.
    #[must_use]
    pub fn not_found(&self) -> bool {
        self.last_fault.as_ref().is_some_and(|fault| fault.not_found)
    }
}
