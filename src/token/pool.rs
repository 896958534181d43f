//! The pool that makes slow signatures, on threads of its own: no task that serves a connection
//! makes one.
//!
//! A thread makes one signature a turn. Single tokens come first; chunks of many take turns among
//! themselves, a token each.

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
    /// Threads that sign; at least one.
    pub threads: usize,
    /// Single tokens that wait for a thread at the same time.
    pub queue: usize,
}

impl Default for Config {
    /// One thread fewer than there are cores, so that calls are still served.
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self { threads: cores.saturating_sub(1).max(1), queue: 1_024 }
    }
}

/// Which queue a job waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// A single token: first.
    One,
    /// A chunk of many.
    Chunk,
}

/// Why the pool made no signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// One could not be made.
    Failed,
    /// Too many wait, or they would be made too late. How long one that comes now would wait.
    Overloaded(Duration),
    /// They were not made in time, though that was expected. How long one that comes now would
    /// wait.
    Late(Duration),
    /// The server goes away.
    Closed,
}

/// Makes the signature of the token with this number.
type Sign = dyn Fn(usize) -> Result<String, SignError> + Send + Sync;

/// Tokens that are signed together.
struct Job {
    sign: Box<Sign>,
    queued: BootTime,
    made: Mutex<Made>,
}

/// What has been made of a job.
struct Made {
    tokens: Vec<String>,
    left: usize,
    /// None once it has been answered.
    answer: Option<oneshot::Sender<Result<Vec<String>, SignError>>>,
}

/// Where slow signatures are made.
#[derive(Clone)]
pub struct Pool(Arc<Shared>);

struct Shared {
    queues: Mutex<Queues>,
    work: Condvar,
    threads: u32,
    clock: Clock,
    metrics: PoolMetrics,
}

/// The threads of a pool. They end when it is dropped.
pub struct Threads {
    pool: Pool,
    handles: Vec<JoinHandle<()>>,
}

impl Pool {
    /// A pool, and its threads.
    ///
    /// # Errors
    ///
    /// The system starts no more threads.
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

    /// Makes `count` tokens, each with `sign`, before `until`. Dropping the future takes out of
    /// the queue what has not been made.
    ///
    /// # Errors
    ///
    /// They are not made.
    pub async fn sign(
        &self,
        lane: Lane,
        count: usize,
        until: Option<Instant>,
        sign: impl Fn(usize) -> Result<String, SignError> + Send + Sync + 'static,
    ) -> Result<Vec<String>, PoolError> {
        let (answer, answered) = oneshot::channel();
        let made = Made { tokens: vec![String::new(); count], left: count, answer: Some(answer) };
        let job = Arc::new(Job {
            sign: Box::new(sign),
            queued: self.0.clock.now().boot,
            made: Mutex::new(made),
        });
        let _waiting = self.enter(lane, Entry::new(job, count), until)?;
        let answered = match until {
            Some(until) => match timeout_at(until, answered).await {
                Ok(answered) => answered,
                Err(_) => return Err(PoolError::Late(self.expected(lane, count))),
            },
            None => answered.await,
        };
        answered.map_err(|_| PoolError::Closed)?.map_err(|SignError| PoolError::Failed)
    }

    /// How long so many tokens that come now would wait.
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
    /// What a thread does.
    fn run(&self) {
        while let Some(Turn { job, number, is_first }) = self.next_turn() {
            let began = self.clock.now().boot;
            if is_first {
                self.metrics.waited(began.since(job.queued));
            }
            // A panic costs its own call, not the thread.
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
                    // Who put the chunk there woke one thread alone.
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
    /// One of its tokens is made. The first that cannot be made fails all of them.
    fn put(&self, number: usize, signed: Result<String, SignError>) {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match signed {
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
        if let Some(waiting) = made.answer.take() {
            // Who waited may have left.
            let _ = waiting.send(answer);
        }
    }
}

/// Who waits for signatures. Its end takes out of the queue what has not been made.
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
    /// Ends them, each after the signature that it is making. Calls that still wait are told that
    /// the server goes away.
    fn drop(&mut self) {
        // Their callers are woken after the lock is released.
        let waiting = self.pool.0.queues().close();
        drop(waiting);
        self.pool.0.work.notify_all();
        for handle in self.handles.drain(..) {
            // A thread has nothing to report.
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
