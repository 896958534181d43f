//! What readers want of the write side: a grant sooner than planned.

use std::sync::Arc;

use futures_util::FutureExt;
use tokio::sync::Notify;

/// The readers' end: says that the present grant does not serve.
#[derive(Clone, Debug, Default)]
pub struct Demand(Arc<Notify>);

/// The keeper's end.
#[derive(Debug)]
pub struct Demanded(Arc<Notify>);

impl Demand {
    /// The keeper's end of this demand.
    #[must_use]
    pub fn keeper_end(&self) -> Demanded {
        Demanded(Arc::clone(&self.0))
    }

    /// Asks for a grant sooner than planned. Many calls before the keeper looks count as one.
    pub fn ask(&self) {
        self.0.notify_one();
    }
}

impl Demanded {
    /// Waits until somebody asks.
    pub async fn asked(&self) {
        self.0.notified().await;
    }

    /// Forgets what was asked so far: it has been answered.
    pub fn forget(&self) {
        let _ = self.asked().now_or_never();
    }
}
