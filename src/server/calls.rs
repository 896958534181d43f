//! The calls of a connection. They run in its task and not in tasks of their own: to hand a
//! call to another thread, and its answer back, costs more than to answer it.

use std::{
    mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hyper::rt::Executor;

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a connection puts its calls.
#[derive(Clone, Default)]
pub(super) struct Arrivals(Arc<Mutex<Vec<Call>>>);

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F> Executor<F> for Arrivals
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, call: F) {
        self.lock().push(Box::pin(call));
    }
}

/// The calls under way on one connection. To drop them cancels them.
#[derive(Default)]
pub(super) struct OpenCalls {
    arrivals: Arrivals,
    running: FuturesUnordered<Call>,
}

impl OpenCalls {
    /// Where their connection is to put them.
    pub(super) fn arrivals(&self) -> Arrivals {
        self.arrivals.clone()
    }

    /// Lets those go on that can. Whether there were any.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        self.running.extend(mem::take(&mut *self.arrivals.lock()));
        let any = !self.running.is_empty();
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {}
        any
    }

    /// Whether none has come since.
    pub(super) fn all_have_had_a_turn(&self) -> bool {
        self.arrivals.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use tokio::{sync::oneshot, task::yield_now};

    use super::*;

    /// Lets them go on until they have nothing more to do for now.
    async fn go_on(calls: &mut OpenCalls) -> bool {
        let any = poll_fn(|cx| Poll::Ready(calls.poll(cx))).await;
        yield_now().await;
        any
    }

    #[tokio::test]
    async fn calls_go_on_side_by_side_and_leave_when_they_end() {
        let mut calls = OpenCalls::default();
        assert!(!go_on(&mut calls).await);
        let ((release, held), (tell, mut told)) = (oneshot::channel::<()>(), oneshot::channel());
        calls.arrivals().execute(async { drop(held.await) });
        calls.arrivals().execute(async { tell.send("answered").unwrap() });
        assert!(go_on(&mut calls).await);
        assert_eq!(told.try_recv(), Ok("answered"), "it waits for no other");
        assert!(go_on(&mut calls).await, "one waits");
        release.send(()).unwrap();
        assert!(go_on(&mut calls).await);
        assert!(!go_on(&mut calls).await, "none is left");
    }

    #[tokio::test]
    async fn a_connection_that_goes_away_takes_its_calls_with_it() {
        let mut calls = OpenCalls::default();
        let (held, mut dropped) = oneshot::channel::<()>();
        calls.arrivals().execute(async move {
            pending::<()>().await;
            drop(held);
        });
        go_on(&mut calls).await;
        assert!(
            dropped.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty)
        );
        drop(calls);
        assert!(dropped.await.is_err());
    }
}
