//! The usage of an entry's limits. It is kept when the entry changes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    policy::Limits,
    quota::{Level, Rate},
};

/// The maximum number of an entry's calls that wait for quota. They also count as waiting calls.
const MAX_WAITING_FOR_QUOTA: usize = 32;

/// How often would-be refusals are logged.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// The usage of an entry's limits.
#[derive(Debug)]
pub struct Usage {
    started: Instant,
    tokens: Level,
    bulk_tokens: Level,
    streams: AtomicUsize,
    waiting: AtomicUsize,
    waiting_for_quota: AtomicUsize,
    /// When a would-be refusal was last logged, in nanoseconds plus one; 0 for never.
    logged_at: AtomicU64,
}

/// One of the two quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// `tokens`.
    Tokens,
    /// `bulk_tokens`.
    BulkTokens,
}

impl Quota {
    /// The key in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::BulkTokens => "bulk_tokens",
        }
    }

    /// The rate; `None`: unlimited.
    #[must_use]
    pub const fn rate(self, limits: &Limits) -> Option<Rate> {
        match self {
            Self::Tokens => limits.tokens,
            Self::BulkTokens => limits.bulk_tokens,
        }
    }
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            tokens: Level::default(),
            bulk_tokens: Level::default(),
            streams: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiting_for_quota: AtomicUsize::new(0),
            logged_at: AtomicU64::new(0),
        }
    }
}

impl Usage {
    pub(super) fn level(&self, quota: Quota) -> &Level {
        match quota {
            Quota::Tokens => &self.tokens,
            Quota::BulkTokens => &self.bulk_tokens,
        }
    }

    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Applies changed limits. Usage is kept.
    pub(super) fn change(&self, before: &Limits, after: &Limits) {
        for quota in [Quota::Tokens, Quota::BulkTokens] {
            if let (Some(before), Some(after)) = (quota.rate(before), quota.rate(after))
                && before != after
            {
                self.level(quota).change(before, after, self.now());
            }
        }
    }

    /// Whether a would-be refusal may be logged now.
    pub(super) fn is_time_to_log(&self) -> bool {
        let (now, last) = (self.now() + 1, self.logged_at.load(Ordering::Relaxed));
        let every = u64::try_from(LOG_PERIOD.as_nanos()).unwrap_or(u64::MAX);
        (last == 0 || now.saturating_sub(last) >= every)
            && self
                .logged_at
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// What a permit is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A streaming call.
    Stream,
    /// A call that waits for a grant.
    Grant,
    /// A call that waits for quota.
    Quota,
}

impl Use {
    fn count(self, usage: &Usage) -> &AtomicUsize {
        match self {
            Self::Stream => &usage.streams,
            Self::Grant => &usage.waiting,
            Self::Quota => &usage.waiting_for_quota,
        }
    }
}

/// A permit of an entry, released on drop.
#[derive(Debug)]
pub struct Permit {
    usage: Arc<Usage>,
    taken: Use,
    /// A call that waits for quota also counts as a waiting call.
    _waiting: Option<Box<Self>>,
}

impl Permit {
    /// Takes a permit, if one is free.
    pub(super) fn take(usage: &Arc<Usage>, limits: &Limits, taken: Use) -> Option<Self> {
        let (max, waiting) = match taken {
            Use::Stream => (limits.streams, None),
            Use::Grant => (limits.waiting, None),
            Use::Quota => {
                let waiting = Self::take(usage, limits, Use::Grant)?;
                (MAX_WAITING_FOR_QUOTA, Some(Box::new(waiting)))
            }
        };
        let one_more = |count: usize| (count < max).then_some(count + 1);
        let count = taken.count(usage);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self { usage: Arc::clone(usage), taken, _waiting: waiting })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.taken.count(&self.usage).fetch_sub(1, Ordering::Relaxed);
    }
}
