//! What the callers of an entry use of their limits. It outlives a change of the entry.

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

/// Calls of one entry that wait for quota at the same time; they are among those that wait.
const WAITING_FOR_QUOTA: usize = 32;

/// How often it is logged what would be refused.
const OBSERVED_EVERY: Duration = Duration::from_secs(60);

/// What the callers of an entry use.
#[derive(Debug)]
pub struct Usage {
    began: Instant,
    tokens: Level,
    bulk_tokens: Level,
    streams: AtomicUsize,
    waiting: AtomicUsize,
    waiting_for_quota: AtomicUsize,
    /// When it was last logged what would be refused, in nanoseconds, and a one.
    observed: AtomicU64,
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
    /// Its key in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::BulkTokens => "bulk_tokens",
        }
    }

    /// Its rate; none for no limit.
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
            began: Instant::now(),
            tokens: Level::default(),
            bulk_tokens: Level::default(),
            streams: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            waiting_for_quota: AtomicUsize::new(0),
            observed: AtomicU64::new(0),
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
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The limits change: what was used stays used.
    pub(super) fn change(&self, before: &Limits, after: &Limits) {
        for quota in [Quota::Tokens, Quota::BulkTokens] {
            if let (Some(before), Some(after)) = (quota.rate(before), quota.rate(after))
                && before != after
            {
                self.level(quota).change(before, after, self.now());
            }
        }
    }

    /// Whether it is time to log what would be refused.
    pub(super) fn is_time_to_log(&self) -> bool {
        let (now, last) = (self.now() + 1, self.observed.load(Ordering::Relaxed));
        let every = u64::try_from(OBSERVED_EVERY.as_nanos()).unwrap_or(u64::MAX);
        (last == 0 || now.saturating_sub(last) >= every)
            && self
                .observed
                .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

/// What a place is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A call that streams.
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

/// A place of an entry's; free again with its end.
#[derive(Debug)]
pub struct Place {
    usage: Arc<Usage>,
    taken: Use,
    /// Who waits for quota also counts among those that wait.
    _also: Option<Box<Self>>,
}

impl Place {
    /// One, where one is free.
    pub(super) fn take(usage: &Arc<Usage>, limits: &Limits, taken: Use) -> Option<Self> {
        let (most, also) = match taken {
            Use::Stream => (limits.streams, None),
            Use::Grant => (limits.waiting, None),
            Use::Quota => {
                let also = Self::take(usage, limits, Use::Grant)?;
                (WAITING_FOR_QUOTA, Some(Box::new(also)))
            }
        };
        let one_more = |present: usize| (present < most).then_some(present + 1);
        let count = taken.count(usage);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Self { usage: Arc::clone(usage), taken, _also: also })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.taken.count(&self.usage).fetch_sub(1, Ordering::Relaxed);
    }
}
