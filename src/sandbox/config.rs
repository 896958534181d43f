//! What a sandbox is started with.

use std::sync::Arc;

use super::{endpoint::Endpoint, fault::Fault};

/// Requests at work at once, beyond which 429 is answered, unless a [`Config`] says another.
pub const MAX_CONCURRENT: usize = 100;

/// What a sandbox is and does.
#[derive(Clone, Debug)]
pub struct Config {
    /// The upstreams that it emulates.
    pub endpoints: Vec<Arc<dyn Endpoint>>,
    /// Requests at work at once, beyond which 429 is answered.
    pub max_concurrent: usize,
    /// The faults that stand at the start. A request meets the first that is for its
    /// resource and strikes then, else the first that is for all.
    pub faults: Vec<Fault>,
    /// What its random values start from.
    pub seed: u64,
}

impl Config {
    /// Emulates these, without a fault.
    #[must_use]
    pub fn new(endpoints: Vec<Arc<dyn Endpoint>>) -> Self {
        Self { endpoints, max_concurrent: MAX_CONCURRENT, faults: Vec::new(), seed: 0 }
    }
}
