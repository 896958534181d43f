//! The calls of a connection. They run in the connection's task: moving a call and its response
//! between threads costs more than handling the call.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use futures_util::{StreamExt, stream::FuturesUnordered};

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Adds calls to a connection.
pub(super) struct NewCalls(Arc<Mutex<Vec<Call>>>);

impl NewCalls {
    /// Starts `call` when the connection is next polled.
    pub(super) fn add(&self, call: impl Future<Output = ()> + Send + 'static) {
        lock(&self.0).push(Box::pin(call));
    }
}

/// The running calls of a connection. Dropping them cancels them.
#[derive(Default)]
pub(super) struct OpenCalls {
    new: Arc<Mutex<Vec<Call>>>,
    running: FuturesUnordered<Call>,
}

impl OpenCalls {
    /// The handle that adds calls.
    pub(super) fn new_calls(&self) -> NewCalls {
        NewCalls(Arc::clone(&self.new))
    }

    /// Polls running calls. Returns how many finished; `None` if there were none.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<usize> {
        self.running.extend(lock(&self.new).drain(..));
        let before = self.running.len();
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {}
        (before > 0).then(|| before - self.running.len())
    }

    /// The number of running calls.
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// Whether all added calls have been polled.
    pub(super) fn all_polled(&self) -> bool {
        lock(&self.new).is_empty()
    }
}

fn lock(calls: &Mutex<Vec<Call>>) -> MutexGuard<'_, Vec<Call>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use tokio::{
        sync::oneshot::{self, error::TryRecvError},
        task::yield_now,
    };

    use super::*;

    /// Polls the calls and yields once.
    async fn poll_once(calls: &mut OpenCalls) -> Option<usize> {
        let finished = poll_fn(|cx| Poll::Ready(calls.poll(cx))).await;
        yield_now().await;
        finished
    }

    #[tokio::test]
    async fn calls_run_concurrently_and_are_removed_when_finished() {
        let mut calls = OpenCalls::default();
        assert_eq!(poll_once(&mut calls).await, None);
        let ((release, blocked), (send, mut response)) =
            (oneshot::channel::<()>(), oneshot::channel());
        calls.new_calls().add(async { drop(blocked.await) });
        calls.new_calls().add(async { send.send("done").unwrap() });
        assert_eq!(poll_once(&mut calls).await, Some(1));
        assert_eq!(response.try_recv(), Ok("done"), "not blocked by the other call");
        assert_eq!(poll_once(&mut calls).await, Some(0), "the blocked call");
        release.send(()).unwrap();
        assert_eq!(poll_once(&mut calls).await, Some(1));
        assert_eq!(poll_once(&mut calls).await, None, "no calls");
    }

    #[tokio::test]
    async fn dropping_the_calls_cancels_them() {
        let mut calls = OpenCalls::default();
        let never = |calls: &OpenCalls| {
            let (held, dropped) = oneshot::channel::<()>();
            calls.new_calls().add(async move {
                pending::<()>().await;
                drop(held);
            });
            dropped
        };
        let mut running = never(&calls);
        poll_once(&mut calls).await;
        let mut added = never(&calls);
        assert_eq!(running.try_recv(), Err(TryRecvError::Empty));
        drop(calls);
        assert_eq!(running.try_recv(), Err(TryRecvError::Closed));
        assert_eq!(added.try_recv(), Err(TryRecvError::Closed));
    }
}
