//! Requests of readers to the write side: a grant sooner than planned, or an attempt now.

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
pub struct DemandReceiver(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    requested: Notify,
    /// The newest generation that a player refused; 0 for none.
    refused: AtomicI64,
    ordered: Notify,
    /// The open orders; none once the keeper has stopped.
    orders: Mutex<Option<Orders>>,
}

type Orders = Vec<oneshot::Sender<OrderOutcome>>;

/// Orders whose caller has gone are removed from a list this long before it grows.
const PRUNED_FROM: usize = 64;

/// The result of an order for an attempt now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderOutcome {
    /// An attempt has ended. The grant's status holds its result.
    Attempted,
    /// No attempt may start before this instant, so none was made.
    Held(BootTime),
}

impl Demand {
    /// The keeper's end of this demand.
    #[must_use]
    pub fn receiver(&self) -> DemandReceiver {
        DemandReceiver(Arc::clone(&self.0))
    }

    /// Requests a grant sooner than planned. Calls before the keeper receives the first count as
    /// one.
    pub fn request(&self) {
        self.0.requested.notify_one();
    }

    /// Reports that a player refused the grant of this generation.
    pub fn refuse(&self, generation: Generation) {
        self.0.refused.fetch_max(generation.get(), Ordering::Relaxed);
    }

    /// Orders an attempt now, and waits for its end. A running attempt counts as the ordered one.
    /// Returns none if the keeper has stopped.
    pub async fn order(&self) -> Option<OrderOutcome> {
        let (order, outcome) = oneshot::channel();
        self.0.place(order)?;
        self.0.ordered.notify_one();
        outcome.await.ok()
    }
}

impl DemandReceiver {
    /// Waits for a request.
    pub async fn requested(&self) {
        self.0.requested.notified().await;
    }

    /// Whether a player refused the grant of this generation.
    #[must_use]
    pub fn is_refused(&self, generation: Generation) -> bool {
        self.0.refused.load(Ordering::Relaxed) >= generation.get()
    }

    /// Drops the request so far: it has been served.
    pub fn forget(&self) {
        let _ = self.requested().now_or_never();
    }

    /// Waits for an order whose caller still waits for it.
    pub async fn ordered(&self) {
        loop {
            self.0.ordered.notified().await;
            if self.0.are_orders_open() {
                return;
            }
        }
    }

    /// Leaves all orders open, so that [`DemandReceiver::ordered`] returns for them again.
    pub fn keep_orders(&self) {
        if self.0.are_orders_open() {
            self.0.ordered.notify_one();
        }
    }

    /// Completes all open orders.
    pub fn complete(&self, outcome: OrderOutcome) {
        // First: an order placed from here on notifies again.
        let _ = self.0.ordered.notified().now_or_never();
        for order in self.0.orders().iter_mut().flat_map(|orders| orders.drain(..)) {
            // Its caller may have gone.
            let _ = order.send(outcome);
        }
    }
}

impl Drop for DemandReceiver {
    fn drop(&mut self) {
        // Waiting callers see that no attempt follows.
        *self.0.orders() = None;
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            requested: Notify::default(),
            refused: AtomicI64::default(),
            ordered: Notify::default(),
            orders: Mutex::new(Some(Vec::new())),
        }
    }
}

impl Shared {
    /// Adds an order; none if the keeper has stopped.
    fn place(&self, order: oneshot::Sender<OrderOutcome>) -> Option<()> {
        let mut orders = self.orders();
        let orders = orders.as_mut()?;
        if orders.len() >= PRUNED_FROM {
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
    async fn order_after_the_keeper_stopped_returns_none() {
        let demand = Demand::default();
        let keeper = demand.receiver();
        let mut waiting = std::pin::pin!(demand.order());
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(keeper);
        assert_eq!(waiting.await, None);
        assert_eq!(demand.order().now_or_never(), Some(None));
    }

    #[tokio::test]
    async fn cancelled_orders_are_removed_and_others_stay() {
        let demand = Demand::default();
        let keeper = demand.receiver();
        let mut waiting = std::pin::pin!(demand.order());
        assert_eq!(waiting.as_mut().now_or_never(), None);
        for _ in 0..10_000 {
            assert_eq!(demand.order().now_or_never(), None);
        }
        let held = demand.0.orders().as_ref().map_or(0, Vec::len);
        assert!(held <= PRUNED_FROM, "{held}");
        keeper.complete(OrderOutcome::Attempted);
        assert_eq!(waiting.await, Some(OrderOutcome::Attempted));
    }
}
