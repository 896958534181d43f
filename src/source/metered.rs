//! A source whose requests are counted and timed: right under the budget, so that what is
//! counted is what is sent.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};

use super::{FetchError, FetchRequest, Fetched, GrantSource};
use crate::{clock::Clock, telemetry::UpstreamMetrics};

/// A source whose requests are counted and timed.
pub struct Metered {
    source: Arc<dyn GrantSource>,
    metrics: UpstreamMetrics,
    clock: Clock,
}

impl Metered {
    /// `source`, counted, and timed by `clock`.
    pub fn new(source: Arc<dyn GrantSource>, metrics: UpstreamMetrics, clock: Clock) -> Self {
        Self { source, metrics, clock }
    }
}

impl GrantSource for Metered {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        async move {
            self.metrics.sent();
            let sent = self.clock.now().boot;
            let result = self.source.fetch(request).await;
            self.metrics.ended(self.clock.now().boot.since(sent));
            result
        }
        .boxed()
    }

    fn clock_skew(&self) -> Option<f64> {
        self.source.clock_skew()
    }
}
