//! How many calls may stream at a time: a reader that stops holds memory until it is cut.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places for calls that stream.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Semaphore>);

/// One of them; free again with its end.
pub(super) type Place = OwnedSemaphorePermit;

impl Streams {
    /// That many places.
    pub(super) fn new(places: usize) -> Self {
        Self(Arc::new(Semaphore::new(places)))
    }

    /// A place, where one is free.
    pub(super) fn open(&self) -> Option<Place> {
        Arc::clone(&self.0).try_acquire_owned().ok()
    }
}
