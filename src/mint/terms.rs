//! Computes the validity of a token made now, or reports why the current grant cannot be used.

use std::time::Duration;

use crate::{
    clock::{Anchor, WallTime},
    grant::{Generation, Life},
    token::Times,
};

/// What happens when a token would outlive its grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiryPolicy {
    /// The token expires with its grant at the latest.
    ClampToGrant,
    /// The token has its full ttl, and only a grant that lasts as long is used.
    RequireFullTtl,
    /// The token has its full ttl, whatever the grant.
    Independent,
}

/// The minimum lifetime of a token when up to `spent` of it may have passed before it is returned.
/// With less, rounding and the margin leave nothing.
#[must_use]
pub fn min_ttl(margin: Duration, spent: Duration) -> Duration {
    spent + margin + Duration::from_secs(1)
}

/// The lifetime that every grant requested with `grant_ttl` can be relied on to have on arrival.
/// Requests are checked against this, not against the current grant.
#[must_use]
pub fn dependable_ttl(grant_ttl: Duration) -> Duration {
    grant_ttl.saturating_sub(Duration::from_secs(2))
}

impl ExpiryPolicy {
    /// All policies.
    pub const ALL: [Self; 3] = [Self::ClampToGrant, Self::RequireFullTtl, Self::Independent];

    /// The policy's name in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ClampToGrant => "clamp-to-grant",
            Self::RequireFullTtl => "require-full-ttl",
            Self::Independent => "independent",
        }
    }
}

/// What a call requires of its grant and token.
#[derive(Clone, Copy, Debug)]
pub struct TokenRequest {
    /// Requested token lifetime; at least the margin and a second.
    pub ttl: Duration,
    /// Minimum time until use-by.
    pub min_remaining: Duration,
    /// What to do when the token would outlive the grant.
    pub policy: ExpiryPolicy,
    /// Only a grant newer than this generation.
    pub after: Generation,
}

/// The validity of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// When it was issued.
    pub issue: WallTime,
    /// When it expires, rounded down to whole seconds.
    pub expire: WallTime,
    /// The last instant at which giving it to a player makes sense.
    pub use_by: WallTime,
    /// The time from now until `use_by`; never zero.
    pub use_within: Duration,
    /// The generation of its grant; none for a token without a grant.
    pub generation: Generation,
}

/// Why the current grant cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortfall {
    /// There is no grant.
    Pending,
    /// The grant, less the margin, has expired; its expiry.
    Expired(WallTime),
    /// The grant is not newer than requested.
    NotNewer,
    /// The grant expires too soon for the request.
    TooShort,
}

impl TokenRequest {
    /// The terms of a token made at `now` with a grant of this lifetime.
    pub fn terms(&self, life: Life, margin: Duration, now: Anchor) -> Result<Terms, Shortfall> {
        let left = life.left(now);
        if left <= margin {
            return Err(Shortfall::Expired(life.end(now)));
        }
        if life.generation <= self.after {
            return Err(Shortfall::NotNewer);
        }
        let expires_within = match self.policy {
            ExpiryPolicy::ClampToGrant => self.ttl.min(left),
            ExpiryPolicy::RequireFullTtl if self.ttl > left => return Err(Shortfall::TooShort),
            ExpiryPolicy::RequireFullTtl | ExpiryPolicy::Independent => self.ttl,
        };
        let use_within = expires_within.min(left).saturating_sub(margin);
        if use_within < self.min_remaining || use_within.is_zero() {
            return Err(Shortfall::TooShort);
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

impl Terms {
    /// The terms of a token returned at `now`, after the wait for its signature; none if it can no
    /// longer be used.
    #[must_use]
    pub fn returned_at(self, now: Anchor) -> Option<Self> {
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
