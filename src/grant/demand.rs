//! What readers want of the write side: a grant sooner than planned.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use futures_util::FutureExt;
use tokio::sync::Notify;

use super::Generation;

/// The readers' end: says that the present grant does not serve.
#[derive(Clone, Debug, Default)]
pub struct Demand(Arc<Shared>);

/// The keeper's end.
#[derive(Debug)]
pub struct Demanded(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    asked: Notify,
    /// The newest generation that a player refused; 0 for none.
    refused: AtomicI64,
}

impl Demand {
    /// The keeper's end of this demand.
    #[must_use]
    pub fn keeper_end(&self) -> Demanded {
        Demanded(Arc::clone(&self.0))
    }

    /// Asks for a grant sooner than planned. Many calls before the keeper looks count as one.
    pub fn ask(&self) {
        self.0.asked.notify_one();
    }

    /// Says that a player refused the grant of this generation.
    pub fn refuse(&self, generation: Generation) {
        self.0.refused.fetch_max(generation.get(), Ordering::Relaxed);
    }
}

impl Demanded {
    /// Waits until somebody asks.
    pub async fn asked(&self) {
        self.0.asked.notified().await;
    }

    /// Whether a player refused the grant of this generation.
    #[must_use]
    pub fn is_refused(&self, generation: Generation) -> bool {
        self.0.refused.load(Ordering::Relaxed) >= generation.get()
    }

    /// Forgets what was asked so far: it has been answered.
    pub fn forget(&self) {
        let _ = self.asked().now_or_never();
    }
}
