//! What a caller may request of a token.

use std::time::Duration;

use prost_types::{Struct, Value};

use crate::proto;

/// What a caller may request of a token; everything has a default.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct Options {
    pub(crate) message: proto::MintOptions,
}

/// What happens where a token would outlive its grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpiryPolicy {
    /// The token expires with its grant at the latest.
    ClampToGrant,
    /// The token has its full life, and the call waits for a grant that lasts as long.
    RequireFullTtl,
    /// The token has its full life whatever the grant; only where the profile allows it.
    Independent,
}

impl Options {
    /// The server's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The profile to mint with. Default: the server's default profile.
    pub fn profile(mut self, profile: impl Into<String>) -> Self {
        self.message.profile = profile.into();
        self
    }

    /// What the token is for, such as a room. Default: the profile's default resource.
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.message.resource = resource.into();
        self
    }

    /// The life of the token. Default: the profile's.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.message.ttl = Some(duration(ttl));
        self
    }

    /// The least time for which the token must be usable when it is returned. Default: none.
    pub fn min_remaining_validity(mut self, least: Duration) -> Self {
        self.message.min_remaining_validity = Some(duration(least));
        self
    }

    /// How long the call may wait for a suitable grant; the server allows up to 10 s.
    /// Default: 2 s. Zero: not at all.
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.message.max_wait = Some(duration(wait));
        self
    }

    /// What happens where the token would outlive its grant. Default: the profile's policy.
    pub fn expiry_policy(mut self, policy: ExpiryPolicy) -> Self {
        let policy = match policy {
            ExpiryPolicy::ClampToGrant => proto::ExpiryPolicy::ClampToGrant,
            ExpiryPolicy::RequireFullTtl => proto::ExpiryPolicy::RequireFullTtl,
            ExpiryPolicy::Independent => proto::ExpiryPolicy::Independent,
        };
        self.message.expiry_policy = policy.into();
        self
    }

    /// Only a grant newer than this one, because the player refused a token of it: see
    /// [`Validity::generation`](crate::Validity::generation).
    pub fn after_generation(mut self, generation: i64) -> Self {
        self.message.after_generation = generation;
        self
    }

    /// Sets a parameter that the profile opens to calls, such as a display name.
    pub fn param(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let params = self.message.params.get_or_insert_with(Struct::default);
        params.fields.insert(name.into(), value.into());
        self
    }
}

impl From<proto::MintOptions> for Options {
    fn from(message: proto::MintOptions) -> Self {
        Self { message }
    }
}

/// A duration as it is sent; one over 292 billion years is cut to that.
fn duration(duration: Duration) -> prost_types::Duration {
    duration.try_into().unwrap_or(prost_types::Duration { seconds: i64::MAX, nanos: 0 })
}
