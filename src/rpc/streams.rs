//! How many calls may stream at once: a reader that stops holds memory until its connection is
//! given up.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// `MintTokens` and `WatchGrants` together, of all connections. A reader of a bulk that stops
/// holds some 160 KiB.
const MOST: usize = 1_024;

/// The places for calls that stream.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Semaphore>);

/// One of them; free again with its end.
pub(super) type Place = OwnedSemaphorePermit;

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST)))
    }
}

impl Streams {
    /// A place, where one is free.
    pub(super) fn open(&self) -> Option<Place> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}
