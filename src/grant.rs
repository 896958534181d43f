//! Grants and how they fare: all that the write side and the read side share.
//!
//! A [`cell::Publisher`] puts a grant in, a [`cell::Reader`] takes it out without a lock, and
//! what a reader wants of the write side travels back as [`demand`].

pub mod cell;
mod content;
pub mod demand;
pub mod table;

use std::{borrow::Cow, fmt, time::Duration};

pub use self::content::Content;
use crate::clock::{Anchor, BootTime, WallTime};

/// How far the wall clock may run ahead of the boot clock before it counts as the witness
/// that a grant is older than the boot clock says.
const WALL_TOLERANCE: Duration = Duration::from_secs(2);

/// What an upstream gave: short-lived, shared by all players of one resource. A secret.
pub struct Grant {
    content: Content,
    life: Life,
}

impl Grant {
    /// A grant with this content, asked for at `anchor` and good for `ttl` from then on.
    #[must_use]
    pub fn new(content: Content, anchor: Anchor, ttl: Duration, generation: Generation) -> Self {
        Self { content, life: Life { anchor, ttl, generation } }
    }

    /// What the upstream gave, exactly as it came.
    #[must_use]
    pub fn content(&self) -> &Content {
        &self.content
    }

    /// When it began and how long it lasts.
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

/// When a grant began and how long it lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Both clocks, just before the upstream was asked.
    pub anchor: Anchor,
    /// How long it lasts from then on.
    pub ttl: Duration,
    /// Its label.
    pub generation: Generation,
}

impl Life {
    /// What is left at `now`: whichever clock says that the grant is older wins, and a wall
    /// clock set back changes nothing.
    #[must_use]
    pub fn left(&self, now: Anchor) -> Duration {
        let by_boot = (self.anchor.boot + self.ttl).since(now.boot);
        let by_wall = (self.anchor.wall + self.ttl + WALL_TOLERANCE).since(now.wall);
        by_boot.min(by_wall)
    }

    /// Whether tokens may be made with it at `now`.
    #[must_use]
    pub fn is_live(&self, now: Anchor, margin: Duration) -> bool {
        self.left(now) > margin
    }

    /// When it ends or ended, by the wall clock of `now`: never a stored wall time, since
    /// that clock may have been stepped.
    #[must_use]
    pub fn end(&self, now: Anchor) -> WallTime {
        let by_boot = now.wall_at(self.anchor.boot + self.ttl);
        by_boot.min(self.anchor.wall + self.ttl + WALL_TOLERANCE)
    }
}

/// A grant's label, for comparing replicas: microseconds of the wall clock when it was asked
/// for, or one more than the last. Order inside a process is by anchor, never by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(i64);

impl Generation {
    /// Older than every grant.
    pub const NONE: Self = Self(0);

    /// The label of a grant asked for at `wall`, after one labelled `last`.
    #[must_use]
    pub fn after(last: Self, wall: WallTime) -> Self {
        Self(wall.unix_micros().max(last.0.saturating_add(1)))
    }

    /// As callers see it.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// As callers gave it.
    #[must_use]
    pub const fn from_caller(value: i64) -> Self {
        Self(value)
    }
}

/// What kind of failure a fault is; decided where it is born.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// Heals by itself.
    Transient,
    /// The upstream asks the whole account to wait.
    Throttled,
    /// The credential is refused.
    Credential,
    /// The resource is refused.
    Resource,
    /// Our configuration is wrong.
    Misconfigured,
}

impl FaultClass {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Transient, Self::Throttled, Self::Credential, Self::Resource, Self::Misconfigured];

    /// Whether it heals without a person.
    #[must_use]
    pub const fn heals(self) -> bool {
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

/// Why an attempt failed: its class and a reason in `UPPER_SNAKE_CASE`, never an upstream's
/// text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its class.
    pub class: FaultClass,
    /// Its reason.
    pub reason: Cow<'static, str>,
    /// Whether the upstream says that the resource does not exist (404, 410).
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

/// How the refresh of one grant goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefreshState {
    /// As planned.
    Ok,
    /// The last attempt failed in a way that heals by itself.
    Retrying,
    /// The upstream asked the account to wait.
    Throttled,
    /// The upstream refuses; a person must act.
    Rejected,
}

/// Whether tokens can be made with a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantState {
    /// There is none yet.
    Pending,
    /// Yes.
    Live,
    /// Its life, less the margin, is over.
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

/// How one grant fares, as its keeper last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The present grant's life; none before the first.
    pub life: Option<Life>,
    /// How the refresh goes.
    pub refresh: RefreshState,
    /// When the next attempt starts; while one runs, when that one started.
    pub next_attempt: Option<BootTime>,
    /// When it would start if a caller asked for it at once; in the past where nothing keeps
    /// it from starting then.
    pub next_if_demanded: Option<BootTime>,
    /// Whether an attempt runs.
    pub attempting: bool,
    /// How long an attempt takes: the mean of recent successes, 0.5 s before any.
    pub usual_latency: Duration,
    /// The last attempt's failure; none after a success.
    pub last_fault: Option<Fault>,
    /// Failed attempts since the last success.
    pub consecutive_failures: u32,
}

impl Status {
    /// What is known before the first attempt.
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

    /// Whether tokens can be made at `now`.
    #[must_use]
    pub fn state(&self, now: Anchor, margin: Duration) -> GrantState {
        match self.life {
            None => GrantState::Pending,
            Some(life) if life.is_live(now, margin) => GrantState::Live,
            Some(_) => GrantState::Expired,
        }
    }

    /// Whether the upstream last said that the resource does not exist.
    #[must_use]
    pub fn not_found(&self) -> bool {
        self.last_fault.as_ref().is_some_and(|fault| fault.not_found)
    }
}
