//! The sandbox's configuration.

use std::sync::Arc;

use super::{endpoint::Endpoint, fault::Fault};

/// The default limit on concurrent requests.
pub const MAX_CONCURRENT: usize = 100;

/// A sandbox's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The emulated upstreams.
    pub endpoints: Vec<Arc<dyn Endpoint>>,
    /// The limit on concurrent requests; further ones receive 429.
    pub max_concurrent: usize,
    /// The initial faults. A request triggers the first active fault for its resource, or else the
    /// first active fault for all resources.
    pub faults: Vec<Fault>,
    /// The seed of its random values.
    pub seed: u64,
}

impl Config {
    /// Emulates these endpoints without faults.
    #[must_use]
    pub fn new(endpoints: Vec<Arc<dyn Endpoint>>) -> Self {
        Self { endpoints, max_concurrent: MAX_CONCURRENT, faults: Vec::new(), seed: 0 }
    }
}
