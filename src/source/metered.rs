//! A source whose requests are counted: right under the budget, so that what is counted is
//! what is sent.

use super::{FetchError, FetchRequest, Fetched, GrantSource};
use crate::telemetry::UpstreamMetrics;

/// A source whose requests are counted.
#[derive(Clone, Debug)]
pub struct Metered<S> {
    source: S,
    metrics: UpstreamMetrics,
}

impl<S> Metered<S> {
    /// `source`, counted.
    pub const fn new(source: S, metrics: UpstreamMetrics) -> Self {
        Self { source, metrics }
    }
}

impl<S: GrantSource> GrantSource for Metered<S> {
    async fn fetch(&self, request: FetchRequest) -> Result<Fetched, FetchError> {
        self.metrics.sent();
        self.source.fetch(request).await
    }
}
