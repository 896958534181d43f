//! The calls of a connection. They run in its task and not in tasks of their own: to hand a
//! call to another thread, and its answer back, costs more than to answer it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures_util::{StreamExt, stream::FuturesUnordered};

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a connection puts its calls.
pub(super) struct Arrivals(Arc<Mutex<Vec<Call>>>);

impl Arrivals {
    /// Begins `call` at the connection's next turn.
    pub(super) fn add(&self, call: impl Future<Output = ()> + Send + 'static) {
        lock(&self.0).push(Box::pin(call));
    }
}

/// The calls under way on one connection. To drop them cancels them.
#[derive(Default)]
pub(super) struct OpenCalls {
    arrived: Arc<Mutex<Vec<Call>>>,
    running: FuturesUnordered<Call>,
}

impl OpenCalls {
    /// Where their connection is to put them.
    pub(super) fn arrivals(&self) -> Arrivals {
        Arrivals(Arc::clone(&self.arrived))
    }

    /// Lets those go on that can. How many ended; none where there were none at all.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        self.running.extend(lock(&self.arrived).drain(..));
        let before = self.running.len();
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {}
        (before > 0).then(|| before - self.running.len())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether none has come since.
    pub(super) fn all_have_had_a_turn(&self) -> bool {
        lock(&self.arrived).is_empty()
    }
}

fn lock(arrived: &Mutex<Vec<Call>>) -> MutexGuard<'_, Vec<Call>> {
    arrived.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use tokio::{
        sync::oneshot::{self, error::TryRecvError},
        task::yield_now,
    };

    use super::*;

    /// Lets them go on until they have nothing more to do for now.
    async fn go_on(calls: &mut OpenCalls) -> Option<usize> {
        let ended = poll_fn(|cx| Poll::Ready(calls.poll(cx))).await;
        yield_now().await;
        ended
    }

    #[tokio::test]
    async fn calls_go_on_side_by_side_and_leave_when_they_end() {
        let mut calls = OpenCalls::default();
        assert_eq!(go_on(&mut calls).await, None);
        let ((release, held), (tell, mut told)) = (oneshot::channel::<()>(), oneshot::channel());
        calls.arrivals().add(async { drop(held.await) });
        calls.arrivals().add(async { tell.send("answered").unwrap() });
        assert_eq!(go_on(&mut calls).await, Some(1));
        assert_eq!(told.try_recv(), Ok("answered"), "it waits for no other");
        assert_eq!(go_on(&mut calls).await, Some(0), "one waits");
        release.send(()).unwrap();
        assert_eq!(go_on(&mut calls).await, Some(1));
        assert_eq!(go_on(&mut calls).await, None, "none is left");
    }

    #[tokio::test]
    async fn a_connection_that_goes_away_takes_its_calls_with_it() {
        let mut calls = OpenCalls::default();
        let never = |calls: &OpenCalls| {
            let (held, dropped) = oneshot::channel::<()>();
            calls.arrivals().add(async move {
                pending::<()>().await;
                drop(held);
            });
            dropped
        };
        let mut under_way = never(&calls);
        go_on(&mut calls).await;
        let mut just_come = never(&calls);
        assert_eq!(under_way.try_recv(), Err(TryRecvError::Empty));
        drop(calls);
        assert_eq!(under_way.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(just_come.try_recv(), Err(TryRecvError::Closed));
    }
}
