//! A source that counts and times its requests: directly below the budget, so that exactly the
//! sent requests are counted.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};

use super::{FetchError, FetchRequest, Fetched, GrantSource};
use crate::{clock::Clock, telemetry::UpstreamMetrics};

/// A source that counts and times its requests.
pub struct Metered {
    source: Arc<dyn GrantSource>,
    metrics: UpstreamMetrics,
    clock: Clock,
}

impl Metered {
    /// Counts the requests of `source`, and times them by `clock`.
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
