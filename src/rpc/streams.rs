//! Limits open streams: a stalled reader holds memory until it is closed.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The permits of streaming calls.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Semaphore>);

/// The permit of one stream, released on drop.
pub(super) type StreamPermit = OwnedSemaphorePermit;

impl Streams {
    /// Creates this many permits.
    pub(super) fn new(permits: usize) -> Self {
        Self(Arc::new(Semaphore::new(permits)))
    }

    /// Takes a permit, if one is free.
    pub(super) fn open(&self) -> Option<StreamPermit> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}
