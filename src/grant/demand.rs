//! What readers ask of the write side: a grant sooner than planned, or an attempt now.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use futures_util::FutureExt;
use tokio::sync::{Notify, oneshot};

use super::Generation;
use crate::clock::BootTime;

/// The readers' end.
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
    ordered: Notify,
    orders: Mutex<Vec<oneshot::Sender<Ordered>>>,
}

/// What became of an order to attempt a refresh now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// An attempt was made and has ended. The grant's status says how.
    Attempted,
    /// No attempt may start before this instant, so none was made.
    Held(BootTime),
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

    /// Orders an attempt now, and waits for its end. An attempt under way counts as the one that
    /// was ordered. Returns none where the keeper has stopped.
    pub async fn order(&self) -> Option<Ordered> {
        let (order, answer) = oneshot::channel();
        self.0.orders().push(order);
        self.0.ordered.notify_one();
        answer.await.ok()
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

    /// Waits until somebody orders an attempt and still waits for it.
    pub async fn ordered(&self) {
        loop {
            self.0.ordered.notified().await;
            let mut orders = self.0.orders();
            orders.retain(|order| !order.is_closed());
            if !orders.is_empty() {
                return;
            }
        }
    }

    /// Answers all orders so far.
    pub fn answer(&self, answer: Ordered) {
        // Before they are taken: one that is placed in between notifies again, and is there.
        let _ = self.0.ordered.notified().now_or_never();
        for order in self.0.orders().drain(..) {
            // Its caller may have gone.
            let _ = order.send(answer);
        }
    }
}

impl Drop for Demanded {
    fn drop(&mut self) {
        self.0.orders().clear();
    }
}

impl Shared {
    fn orders(&self) -> MutexGuard<'_, Vec<oneshot::Sender<Ordered>>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
