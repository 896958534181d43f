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

#[derive(Debug)]
struct Shared {
    asked: Notify,
    /// The newest generation that a player refused; 0 for none.
    refused: AtomicI64,
    ordered: Notify,
    /// The orders that are not answered yet; none once the keeper has stopped.
    orders: Mutex<Option<Orders>>,
}

type Orders = Vec<oneshot::Sender<Ordered>>;

/// A list of orders this long is searched for those whose caller has gone before it grows.
const SEARCHED: usize = 64;

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
        self.0.place(order)?;
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
            if self.0.are_orders_open() {
                return;
            }
        }
    }

    /// Leaves all orders so far unanswered, so that [`Demanded::ordered`] returns for them again.
    pub fn keep_orders(&self) {
        if self.0.are_orders_open() {
            self.0.ordered.notify_one();
        }
    }

    /// Answers all orders so far.
    pub fn answer(&self, answer: Ordered) {
        // Before they are taken: one that is placed in between notifies again, and is there.
        let _ = self.0.ordered.notified().now_or_never();
        for order in self.0.orders().iter_mut().flat_map(|orders| orders.drain(..)) {
            // Its caller may have gone.
            let _ = order.send(answer);
        }
    }
}

impl Drop for Demanded {
    fn drop(&mut self) {
        // Whoever waits for an answer sees that there will be none.
        *self.0.orders() = None;
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            asked: Notify::default(),
            refused: AtomicI64::default(),
            ordered: Notify::default(),
            orders: Mutex::new(Some(Vec::new())),
        }
    }
}

impl Shared {
    /// Adds an order; none where the keeper has stopped.
    fn place(&self, order: oneshot::Sender<Ordered>) -> Option<()> {
        let mut orders = self.orders();
        let orders = orders.as_mut()?;
        if orders.len() >= SEARCHED {
            orders.retain(|order| !order.is_closed());
        }
        orders.push(order);
        Some(())
    }

    /// Removes the orders whose caller has gone, and returns whether any are left.
    fn are_orders_open(&self) -> bool {
        self.orders().as_mut().is_some_and(|orders| {
            orders.retain(|order| !order.is_closed());
            !orders.is_empty()
        })
    }

    fn orders(&self) -> MutexGuard<'_, Option<Orders>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_order_after_the_keeper_stopped_gets_no_answer_and_does_not_wait() {
        let demand = Demand::default();
        let keeper = demand.keeper_end();
        let mut waiting = std::pin::pin!(demand.order());
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(keeper);
        assert_eq!(waiting.await, None);
        assert_eq!(demand.order().now_or_never(), Some(None));
    }

    #[tokio::test]
    async fn cancelled_orders_do_not_pile_up_and_others_stay() {
        let demand = Demand::default();
        let keeper = demand.keeper_end();
        let mut waiting = std::pin::pin!(demand.order());
        assert_eq!(waiting.as_mut().now_or_never(), None);
        for _ in 0..10_000 {
            assert_eq!(demand.order().now_or_never(), None);
        }
        let held = demand.0.orders().as_ref().map_or(0, Vec::len);
        assert!(held <= SEARCHED, "{held}");
        keeper.answer(Ordered::Attempted);
        assert_eq!(waiting.await, Some(Ordered::Attempted));
    }
}
