//! What a token made now would be good for, or why the present grant will not do.

use std::time::Duration;

use super::profile::Key;
use crate::{
    clock::{Anchor, WallTime},
    grant::{Generation, Life},
    token::Times,
};

/// What happens where a token would outlive its grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryPolicy {
    /// The token ends with its grant at the latest.
    ClampToGrant,
    /// The token has its full ttl, and a grant that lasts as long.
    RequireFullTtl,
    /// The token has its full ttl whatever the grant.
    Independent,
}

/// The least life of a token of which as much as `spent` may be over when it is handed out: under
/// it, nothing is left between its rounding and the margin.
#[must_use]
pub fn least_ttl(margin: Duration, spent: Duration) -> Duration {
    spent + margin + Duration::from_secs(1)
}

/// The life that any grant asked to live for `grant_ttl` can be relied on to have when it
/// arrives: what is asked is judged by that, not by the present grant.
#[must_use]
pub fn dependable_ttl(grant_ttl: Duration) -> Duration {
    grant_ttl.saturating_sub(Duration::from_secs(2))
}

impl ExpiryPolicy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ClampToGrant, Self::RequireFullTtl, Self::Independent];

    /// The policy as the configuration names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClampToGrant => "clamp-to-grant",
            Self::RequireFullTtl => "require-full-ttl",
            Self::Independent => "independent",
        }
    }
}

/// What a call asks of grant and token.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Wanted token life; at least the margin and a second.
    pub ttl: Duration,
    /// Least time that use-by must lie ahead.
    pub min_remaining: Duration,
    /// Where the token would outlive the grant.
    pub policy: ExpiryPolicy,
    /// Only a grant newer than this.
    pub after: Generation,
}

/// How long a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// When it was issued.
    pub issue: WallTime,
    /// When it ends, rounded down to whole seconds.
    pub expire: WallTime,
    /// The last instant at which handing it out makes sense.
    pub use_by: WallTime,
    /// The same as time from now; never zero.
    pub use_within: Duration,
    /// Its grant's label; none of a token without a grant.
    pub generation: Generation,
}

/// Why the present grant will not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// There is none.
    Pending,
    /// Its life, less the margin, is over; it ended then.
    Expired(WallTime),
    /// It is not newer than asked.
    NotNewer,
    /// It has not the life asked for.
    TooShort,
}

impl Ask {
    /// The terms of a token made at `now` with a grant of this life.
    pub fn terms(&self, life: Life, margin: Duration, now: Anchor) -> Result<Terms, Lack> {
        let left = life.left(now);
        if left <= margin {
            return Err(Lack::Expired(life.end(now)));
        }
        if life.generation <= self.after {
            return Err(Lack::NotNewer);
        }
        let expires_within = match self.policy {
            ExpiryPolicy::ClampToGrant => self.ttl.min(left),
            ExpiryPolicy::RequireFullTtl if self.ttl > left => return Err(Lack::TooShort),
            ExpiryPolicy::RequireFullTtl | ExpiryPolicy::Independent => self.ttl,
        };
        let use_within = expires_within.min(left).saturating_sub(margin);
        if use_within < self.min_remaining || use_within.is_zero() {
            return Err(Lack::TooShort);
        }
        let expire = (now.wall + expires_within).unix_seconds();
        Ok(Terms {
            issue: now.wall,
            expire: WallTime::from_unix_seconds(expire),
            use_by: now.wall + use_within,
            use_within,
            generation: life.generation,
        })
    }
}

impl Ask {
    /// The terms of a token handed out at `now` that is made with `key` alone. Its life is counted
    /// from the key's backdate before its issue; that is now, or, of a shared signature, the start
    /// of the present period: the same on all replicas.
    #[must_use]
    pub fn terms_of_key(&self, key: &Key, margin: Duration, now: Anchor) -> Terms {
        let since_issue =
            key.reuse_for.map_or(Duration::ZERO, |period| now.wall.since_multiple_of(period));
        let expires_within = self.ttl.saturating_sub(key.iat_backdate + since_issue);
        let use_within = expires_within.saturating_sub(margin);
        Terms {
            issue: now.wall - since_issue,
            expire: WallTime::from_unix_seconds((now.wall + expires_within).unix_seconds()),
            use_by: now.wall + use_within,
            use_within,
            generation: Generation::NONE,
        }
    }
}

impl Terms {
    /// The same of a token that is handed out at `now`, after its signature was waited for; none
    /// where that took longer than it could be used for.
    #[must_use]
    pub fn handed_out_at(self, now: Anchor) -> Option<Self> {
        let use_within = self.use_by.since(now.wall).min(self.use_within);
        (!use_within.is_zero()).then_some(Self { use_within, ..self })
    }

    /// The token's own times.
    #[must_use]
    pub fn times(&self) -> Times {
        Times { issue: self.issue.unix_seconds(), expire: self.expire.unix_seconds() }
    }
}

#[cfg(test)]
mod tests;
