//! The pool with signatures that the tests release one by one.

use std::{
    future::Future,
    sync::{
        Mutex,
        mpsc::{Receiver, Sender, channel},
    },
};

use futures_util::FutureExt;
use tokio::{task::yield_now, time::advance};

use super::*;
use crate::telemetry::Metrics;

fn pool(threads: usize, queue: usize) -> (Pool, Threads) {
    let metrics = Metrics::default().signing();
    Pool::start(Config { threads, queue }, Clock::system(), metrics).unwrap()
}

/// A pool with one thread, the order in which it signed, and a gate that releases signatures.
struct Harness {
    // Dropped before the threads, which wait for it.
    gate: Sender<()>,
    pool: Pool,
    _threads: Threads,
    order: Arc<Mutex<Vec<String>>>,
    passes: Arc<Mutex<Receiver<()>>>,
}

impl Harness {
    fn new(queue: usize) -> Self {
        let (pool, threads) = pool(1, queue);
        let (gate, passes) = channel();
        let order = Arc::default();
        Self { pool, _threads: threads, order, gate, passes: Arc::new(Mutex::new(passes)) }
    }

    /// Signs tokens, each waiting for the gate.
    fn sign(
        &self,
        lane: Lane,
        name: &'static str,
        count: usize,
        until: Option<Instant>,
    ) -> impl Future<Output = Result<Vec<String>, PoolError>> + use<'_> {
        let (order, passes) = (Arc::clone(&self.order), Arc::clone(&self.passes));
        self.pool.sign(lane, count, until, move |number| {
            passes.lock().unwrap().recv().map_err(|_| SignError)?;
            let token = format!("{name}{number}");
            order.lock().unwrap().push(token.clone());
            Ok(token)
        })
    }

    fn release(&self, tokens: usize) {
        (0..tokens).for_each(|_| self.gate.send(()).unwrap());
    }

    /// Waits until the thread is signing, so that later jobs are queued.
    async fn wait_until_busy(&self) {
        while self.pool.0.queues().waiting() > 0 {
            yield_now().await;
        }
    }
}

#[tokio::test]
async fn single_tokens_come_first_and_chunks_take_turns() {
    let harness = Harness::new(8);
    let mut first = Box::pin(harness.sign(Lane::One, "first", 1, None));
    assert!(first.as_mut().now_or_never().is_none());
    harness.wait_until_busy().await;
    let mut a = Box::pin(harness.sign(Lane::Chunk, "a", 3, None));
    let mut b = Box::pin(harness.sign(Lane::Chunk, "b", 2, None));
    let mut one = Box::pin(harness.sign(Lane::One, "one", 1, None));
    assert!(a.as_mut().now_or_never().is_none());
    assert!(b.as_mut().now_or_never().is_none());
    assert!(one.as_mut().now_or_never().is_none());
    assert_eq!(harness.pool.0.queues().waiting(), 6);
    harness.release(7);
    assert_eq!(first.await.unwrap(), ["first0"]);
    assert_eq!(a.await.unwrap(), ["a0", "a1", "a2"]);
    assert_eq!(b.await.unwrap(), ["b0", "b1"]);
    assert_eq!(one.await.unwrap(), ["one0"]);
    assert_eq!(*harness.order.lock().unwrap(), ["first0", "one0", "a0", "b0", "a1", "b1", "a2"]);
}

#[tokio::test]
async fn dropped_job_leaves_the_queue() {
    let harness = Harness::new(1);
    let mut first = Box::pin(harness.sign(Lane::One, "first", 1, None));
    assert!(first.as_mut().now_or_never().is_none());
    harness.wait_until_busy().await;
    let mut dropped = Box::pin(harness.sign(Lane::One, "dropped", 1, None));
    assert!(dropped.as_mut().now_or_never().is_none());
    let refused = harness.sign(Lane::One, "refused", 1, None).await;
    assert!(matches!(refused, Err(PoolError::Overloaded(_))), "{refused:?}");
    drop(dropped);
    let mut chunk = Box::pin(harness.sign(Lane::Chunk, "chunk", 64, None));
    assert!(chunk.as_mut().now_or_never().is_none());
    drop(chunk);
    let mut last = Box::pin(harness.sign(Lane::One, "last", 1, None));
    assert!(last.as_mut().now_or_never().is_none());
    harness.release(2);
    assert_eq!(first.await.unwrap(), ["first0"]);
    assert_eq!(last.await.unwrap(), ["last0"]);
    assert_eq!(*harness.order.lock().unwrap(), ["first0", "last0"]);
    assert_eq!(harness.pool.0.queues().waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn late_signature_times_out() {
    let harness = Harness::new(8);
    let until = Some(Instant::now() + Duration::from_secs(1));
    let mut late = Box::pin(harness.sign(Lane::One, "late", 1, until));
    assert!(late.as_mut().now_or_never().is_none());
    advance(Duration::from_millis(1_001)).await;
    let late = late.await;
    assert!(matches!(late, Err(PoolError::Late(_))), "{late:?}");
    harness.release(2);
    assert_eq!(harness.sign(Lane::One, "next", 1, None).await.unwrap(), ["next0"]);
}

#[tokio::test]
async fn free_thread_accepts_jobs_after_slow_signatures() {
    let harness = Harness::new(8);
    // As after a suspend during a signature.
    harness.pool.0.queues().ended(Duration::from_secs(3_600));
    assert_eq!(harness.pool.expected(Lane::One, 1), Duration::ZERO);
    let mut busy = Box::pin(harness.sign(Lane::Chunk, "busy", 3, None));
    assert!(busy.as_mut().now_or_never().is_none());
    while harness.pool.0.queues().waiting() > 2 {
        yield_now().await;
    }
    assert_eq!(harness.pool.expected(Lane::One, 1), Duration::from_millis(100));
    assert_eq!(harness.pool.expected(Lane::Chunk, 64), Duration::from_millis(6_600));
    let until = Some(Instant::now() + Duration::from_millis(99));
    let refused = harness.sign(Lane::One, "late", 1, until).await;
    assert_eq!(refused, Err(PoolError::Overloaded(Duration::from_millis(100))));
    harness.release(3);
    assert_eq!(busy.await.unwrap().len(), 3);
}

#[tokio::test]
async fn failure_or_panic_affects_only_its_own_call() {
    let (pool, _threads) = pool(1, 8);
    let failed = pool.sign(Lane::Chunk, 3, None, |number| {
        if number == 1 { Err(SignError) } else { Ok(String::new()) }
    });
    assert_eq!(failed.await, Err(PoolError::Failed));
    let panicked = pool.sign(Lane::One, 1, None, |_| panic!("planned"));
    assert_eq!(panicked.await, Err(PoolError::Failed));
    assert_eq!(pool.sign(Lane::One, 1, None, |_| Ok("ok".into())).await.unwrap(), ["ok"]);
}

#[tokio::test]
async fn closing_the_pool_fails_queued_jobs() {
    let harness = Harness::new(8);
    let mut first = Box::pin(harness.sign(Lane::One, "first", 1, None));
    assert!(first.as_mut().now_or_never().is_none());
    harness.wait_until_busy().await;
    let mut waits = Box::pin(harness.sign(Lane::Chunk, "waits", 9, None));
    assert!(waits.as_mut().now_or_never().is_none());
    drop(harness.pool.0.queues().close());
    harness.release(1);
    assert_eq!(waits.await, Err(PoolError::Closed));
    assert_eq!(first.await.unwrap(), ["first0"], "the current signature is finished");
    let refused = harness.pool.sign(Lane::One, 1, None, |_| Ok(String::new())).await;
    assert_eq!(refused, Err(PoolError::Closed));
}

#[tokio::test]
async fn all_threads_share_one_chunk() {
    let (pool, _threads) = pool(4, 8);
    // Each signature waits for the other threads.
    let barrier = Arc::new(std::sync::Barrier::new(4));
    let signed = pool.sign(Lane::Chunk, 8, None, move |number| {
        barrier.wait();
        Ok(number.to_string())
    });
    assert_eq!(signed.await.unwrap(), ["0", "1", "2", "3", "4", "5", "6", "7"]);
}
