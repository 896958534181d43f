//! A source whose requests are counted and timed: right under the budget, so that what is
//! counted is what is sent.

use super::{FetchError, FetchRequest, Fetched, GrantSource};
use crate::{clock::Clock, telemetry::UpstreamMetrics};

/// A source whose requests are counted and timed.
#[derive(Clone, Debug)]
pub struct Metered<S> {
    source: S,
    metrics: UpstreamMetrics,
    clock: Clock,
}

impl<S> Metered<S> {
    /// `source`, counted, and timed by `clock`.
    pub const fn new(source: S, metrics: UpstreamMetrics, clock: Clock) -> Self {
        Self { source, metrics, clock }
    }
}

impl<S: GrantSource> GrantSource for Metered<S> {
    async fn fetch(&self, request: FetchRequest) -> Result<Fetched, FetchError> {
        self.metrics.sent();
        let sent = self.clock.now().boot;
        let result = self.source.fetch(request).await;
        self.metrics.ended(self.clock.now().boot.since(sent));
        result
    }
}
