//! A call with valid arguments.

use std::time::Duration;

use super::{profile::Signing, resolve::ResourceEntry, terms::TokenRequest};
use crate::{
    telemetry::ProfileMetrics,
    token::{Call, params::Values},
};

/// A call with valid arguments.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) entry: ResourceEntry,
    pub(super) request: TokenRequest,
    pub(super) wants_ttl: bool,
    /// The caller's limit on the lifetime of its tokens.
    pub(super) max_ttl: Option<Duration>,
    pub(super) max_wait: Duration,
    /// Values of the kind's parameters, in the kind's order.
    pub(super) params: Values,
    /// The signing units that a token costs.
    pub(super) units: u32,
    pub(super) signing: Signing,
}

impl Plan {
    /// Changes the caller's limit on the lifetime of its tokens. It does not shorten a forwarded
    /// grant: that grant's lifetime is compared with the limit once it is known.
    pub fn limit_ttl(&mut self, max_ttl: Option<Duration>) {
        self.max_ttl = max_ttl;
        let is_given = self.wants_ttl || self.entry.profile().forwards_its_grant();
        if let (Some(max_ttl), false) = (max_ttl, is_given) {
            self.request.ttl = self.request.ttl.min(max_ttl);
        }
    }

    /// The grant that serves the call: `profiles/{profile}/grants/{resource}`; empty for a profile
    /// without grants.
    #[must_use]
    pub fn grant_name(&self) -> &str {
        match &self.entry {
            ResourceEntry::Granted(granted) => &granted.name,
            ResourceEntry::Keyed(..) => "",
        }
    }

    /// Counts the tokens of the call's profile.
    #[must_use]
    pub fn profile_metrics(&self) -> &ProfileMetrics {
        &self.entry.profile().metrics
    }

    /// The call's part of its tokens.
    pub(super) fn call(&self) -> Call<'_> {
        Call { resource: self.entry.resource(), params: &self.params }
    }
}
