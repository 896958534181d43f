//! The signing pool: slow signatures are made on dedicated threads, never in a task that serves a
//! connection.
//!
//! A thread makes one signature per turn. Single tokens come first; chunks take turns, one token
//! each.

mod queue;
#[cfg(test)]
mod tests;

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use self::queue::{Entry, Queues, Turn};
use super::SignError;
use crate::{
    clock::{BootTime, Clock},
    telemetry::PoolMetrics,
};

/// `[signing]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Signing threads; at least one.
    pub threads: usize,
    /// Single tokens that may be queued at once.
    pub queue: usize,
}

impl Default for Config {
    /// One thread fewer than there are cores, so that calls are still served.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { threads: cores.saturating_sub(1).max(1), queue: 1_024 }
    }
}

/// The queue that a job waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A single token; these come first.
    One,
    /// A chunk of tokens.
    Chunk,
}

/// Why the pool returned no signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// Signing failed.
    Failed,
    /// The queue is full, or the signatures would be late. How long a new job would wait.
    Overloaded(Duration),
    /// The signatures missed the deadline, though they were expected to meet it. How long a new job
    /// would wait.
    Late(Duration),
    /// The server is shutting down.
    Closed,
}

/// Signs the token with this index.
type Sign = dyn Fn(usize) -> Result<String, SignError> + Send + Sync;

/// Tokens that are signed together.
struct Job {
    sign: Box<Sign>,
    queued: BootTime,
    made: Mutex<Made>,
}

/// The progress of a job.
struct Made {
    tokens: Vec<String>,
    left: usize,
    /// None once the result was sent.
    result: Option<oneshot::Sender<Result<Vec<String>, SignError>>>,
}

/// The handle of the signing pool.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    queues: Mutex<Queues>,
    work: Condvar,
    threads: u32,
    clock: Clock,
    metrics: PoolMetrics,
}

/// The threads of a pool. They stop when this is dropped.
pub struct Threads {
    pool: Pool,
    handles: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts a pool and its threads.
    ///
    /// # Errors
    ///
    /// The system cannot start another thread.
    pub fn start(
        config: Config,
        clock: Clock,
        metrics: PoolMetrics,
    ) -> io::Result<(Self, Threads)> {
        let threads = u32::try_from(config.threads).unwrap_or(u32::MAX).max(1);
        let queues = Mutex::new(Queues::new(config.queue));
        let shared = Shared { queues, work: Condvar::new(), threads, clock, metrics };
        let pool = Self(Arc::new(shared));
        let mut started = Threads { pool: pool.clone(), handles: Vec::new() };
        for number in 0..threads {
            let shared = Arc::clone(&pool.0);
            let thread = thread::Builder::new().name(format!("signing-{number}"));
            started.handles.push(thread.spawn(move || shared.run())?);
        }
        Ok((pool, started))
    }

    /// Makes `count` tokens with `sign` before `until`. Dropping the future removes what is left
    /// from the queue.
    ///
    /// # Errors
    ///
    /// The tokens were not made.
    pub async fn sign(
        &self,
        lane: Lane,
        count: usize,
        until: Option<Instant>,
        sign: impl Fn(usize) -> Result<String, SignError> + Send + Sync + 'static,
    ) -> Result<Vec<String>, PoolError> {
        let (sender, receiver) = oneshot::channel();
        let made = Made { tokens: vec![String::new(); count], left: count, result: Some(sender) };
        let job = Arc::new(Job {
            sign: Box::new(sign),
            queued: self.0.clock.now().boot,
            made: Mutex::new(made),
        });
        let _waiting = self.enter(lane, Entry::new(job, count), until)?;
        let outcome = match until {
            Some(until) => match timeout_at(until, receiver).await {
                Ok(outcome) => outcome,
                Err(_) => return Err(PoolError::Late(self.expected(lane, count))),
            },
            None => receiver.await,
        };
        outcome.map_err(|_| PoolError::Closed)?.map_err(|SignError| PoolError::Failed)
    }

    /// How long a new job of this size would wait.
    #[must_use]
    pub fn expected(&self, lane: Lane, count: usize) -> Duration {
        self.0.queues().expected(lane, count, self.0.threads)
    }

    fn enter(
        &self,
        lane: Lane,
        entry: Entry,
        until: Option<Instant>,
    ) -> Result<Waiting<'_>, PoolError> {
        let shared = &*self.0;
        let mut queues = shared.queues();
        if queues.is_closed() {
            return Err(PoolError::Closed);
        }
        let expected = queues.expected(lane, entry.count(), shared.threads);
        let is_late = until.is_some_and(|until| Instant::now() + expected > until);
        if is_late || (lane == Lane::One && queues.is_full()) {
            return Err(PoolError::Overloaded(expected));
        }
        let ticket = queues.push(lane, entry);
        shared.metrics.waiting(queues.waiting());
        drop(queues);
        shared.work.notify_one();
        Ok(Waiting { shared, lane, ticket })
    }
}

impl Shared {
    /// The loop of a thread.
    fn run(&self) {
        while let Some(Turn { job, number, is_first }) = self.next_turn() {
            let began = self.clock.now().boot;
            if is_first {
                self.metrics.waited(began.since(job.queued));
            }
            // A panic fails its own call and does not stop the thread.
            let signed = catch_unwind(AssertUnwindSafe(|| (job.sign)(number)));
            job.put(number, signed.unwrap_or(Err(SignError)));
            self.queues().ended(self.clock.now().boot.since(began));
            self.metrics.idle();
        }
    }

    /// Waits for the next turn; none once the pool is closed.
    fn next_turn(&self) -> Option<Turn> {
        let mut queues = self.queues();
        loop {
            if queues.is_closed() {
                return None;
            }
            if let Some((turn, has_more)) = queues.next() {
                self.metrics.waiting(queues.waiting());
                self.metrics.busy();
                drop(queues);
                if has_more {
                    // Queueing the chunk woke only one thread.
                    self.work.notify_one();
                }
                return Some(turn);
            }
            queues = self.work.wait(queues).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    /// Stores the result for one token. The first failure fails the whole job.
    fn put(&self, number: usize, signed: Result<String, SignError>) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match signed {
            Ok(token) => {
                if let Some(place) = made.tokens.get_mut(number) {
                    *place = token;
                }
                made.left = made.left.saturating_sub(1);
                if made.left > 0 {
                    return;
                }
                Ok(std::mem::take(&mut made.tokens))
            }
            Err(error) => Err(error),
        };
        if let Some(sender) = made.result.take() {
            // The caller may have left.
            let _ = sender.send(result);
        }
    }
}

/// A queued job. Dropping it removes what is left from the queue.
struct Waiting<'a> {
    shared: &'a Shared,
    lane: Lane,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut queues = self.shared.queues();
        queues.remove(self.lane, self.ticket);
        self.shared.metrics.waiting(queues.waiting());
    }
}

impl Drop for Threads {
    /// Stops each thread after its current signature. Waiting calls get [`PoolError::Closed`].
    fn drop(&mut self) {
        // Waiting callers are woken after the lock is released.
        let waiting = self.pool.0.queues().close();
        drop(waiting);
        self.pool.0.work.notify_all();
        for handle in self.handles.drain(..) {
            // A thread returns nothing.
            let _ = handle.join();
        }
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pool")
    }
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Threads")
    }
}
