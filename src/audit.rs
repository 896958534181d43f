//! The audit log: a line of JSON for each token, chunk and refusal, queued before the response is
//! sent.
//!
//! ```text
//! call ─► Reservation (queue space) ─► quota ─► sign ─► record ─► queue ─► writer ─► file
//! ```
//!
//! A call never waits for the file. Records go into a bounded queue, and one thread writes them.
//! When the queue is full, records are dropped and counted, or nothing is minted ([`WhenFull`]). No
//! record holds a token, a grant or a secret.

mod config;
mod identities;
mod output;
mod queue;
mod record;
mod sums;
mod writer;

use std::{
    fmt, io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering, fence},
    },
    thread,
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

pub use self::{
    config::{Config, Target, WhenFull},
    identities::{DIGITS, Identities, IdentityKey},
    output::Access,
    record::{Ids, Minted, Outcome, Recipients},
};
use self::{
    output::Output,
    queue::Queue,
    record::Line,
    sums::{Refusal, Sums},
    writer::Writer,
};
use crate::{
    clock::{BootTime, Clock},
    listen::remote::Remote,
    telemetry::{AuditMetrics, Metrics},
};

/// The size of the queue for mint and chunk records.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// The size of the queue for all other records. It is separate so that refused callers and
/// unauthenticated clients cannot fill the queue for mints.
const EVENT_QUEUE_BYTES: usize = 1024 * 1024;

/// How long shutdown waits for queued records to be written.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// After this time without progress, a blocked output is reported.
const BLOCKED_AFTER: Duration = Duration::from_secs(5);

/// The sending side of the audit log. Clones share one log. Dropping the last clone ends it.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Handle>);

/// The writer thread and the state it shares with calls.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: thread::Thread,
    ended: watch::Receiver<bool>,
}

/// State shared by calls and the writer.
struct Shared {
    /// Mint and chunk records.
    records: Queue,
    /// All other records.
    events: Queue,
    sums: Mutex<Sums>,
    identities: Identities,
    when_full: WhenFull,
    is_to_stdout: bool,
    clock: Clock,
    metrics: AuditMetrics,
    /// Whether a write or an open failed and records have been waiting since.
    is_failing: AtomicBool,
    state: Mutex<State>,
    /// Whether the writer is waiting for records.
    is_idle: AtomicBool,
    reopen: AtomicBool,
    ending: AtomicBool,
}

/// The writer's status.
#[derive(Debug)]
enum State {
    Healthy,
    /// The output has accepted nothing since this time, without an error.
    Blocked(BootTime),
    /// The last write or open failed with this error.
    Failing(String),
}

/// The caller, peer and method of a call.
#[derive(Clone, Copy)]
pub struct CallInfo<'a> {
    /// The caller's name, if it has one.
    pub caller: Option<&'a dyn fmt::Display>,
    /// The caller's entry; `None` if the server is open to all or no entry matches.
    pub entry: Option<&'a str>,
    /// The address of the caller.
    pub peer: Remote,
    /// The method; `None` for methods that no row can name.
    pub method: Option<&'static str>,
}

/// There is no room for the record or writing fails, and nothing may be minted unrecorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Queue space reserved for one record; released on drop if nothing is recorded.
#[derive(Debug)]
pub struct Reservation {
    audit: Audit,
    /// `None`: there was no space, so the record is dropped.
    bytes: Option<usize>,
}

/// Why the audit log cannot start.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The output cannot be opened.
    #[error("the audit log {0} cannot be opened: {1}")]
    Open(Target, io::Error),
    /// The writer thread cannot be started.
    #[error("the audit writer thread cannot be started: {0}")]
    Thread(io::Error),
}

impl Audit {
    /// Opens the log and starts the writer thread.
    ///
    /// # Errors
    ///
    /// The output cannot be opened or the thread cannot be started.
    pub fn start(config: &Config, clock: Clock, metrics: &Metrics) -> Result<Self, AuditError> {
        let output = Output::open(&config.target);
        let output = output.map_err(|error| AuditError::Open(config.target.clone(), error))?;
        let shared = Arc::new(Shared::new(config, clock, metrics.audit()));
        let (ending, ended) = watch::channel(false);
        let writer = Writer::new(output, Arc::clone(&shared));
        let end = WriterEnd { shared: Arc::clone(&shared), ending };
        let spawned = thread::Builder::new().name("audit".to_owned()).spawn(move || {
            let _end = end;
            writer.run();
        });
        let thread = spawned.map_err(AuditError::Thread)?.thread().clone();
        let audit = Self(Arc::new(Handle { shared, thread, ended }));
        let shared = Arc::clone(&audit.0.shared);
        metrics.audit_failing(move || shared.problem().is_some());
        Ok(audit)
    }

    /// A log without a writer: records stay in the queue.
    #[cfg(test)]
    pub(crate) fn unwritten(config: &Config, clock: Clock) -> Self {
        let shared = Arc::new(Shared::new(config, clock, Metrics::default().audit()));
        let (_, ended) = watch::channel(true);
        Self(Arc::new(Handle { shared, thread: thread::current(), ended }))
    }

    /// A log without a writer that records identities in clear and refuses to mint when full.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let (target, key_files) = (Target::Stdout, crate::settings::KeyFiles::default());
        let (identities, when_full) = (Identities::Clear, WhenFull::Refuse);
        let config = Config { target, identities, when_full, key_origin: None, key_files };
        Self::unwritten(&config, Clock::system())
    }

    /// The queued records, mints and chunks first.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> String {
        let Shared { records, events, .. } = &*self.0.shared;
        let batches = [records, events].into_iter().flat_map(|queue| {
            let take = move |buffer| std::iter::from_fn(move || queue.take(buffer));
            (0..queue.buffers()).flat_map(take).map(|batch| {
                queue.free(batch.bytes.len());
                batch.bytes
            })
        });
        String::from_utf8(batches.flatten().collect()).unwrap()
    }

    /// Whether records go to standard output.
    #[must_use]
    pub fn is_to_stdout(&self) -> bool {
        self.0.shared.is_to_stdout
    }

    /// Reserves queue space for the record of tokens for these recipients.
    ///
    /// # Errors
    ///
    /// There is no space or writing fails, and nothing may be minted unrecorded.
    pub fn reserve(&self, recipients: &Recipients<'_>) -> Result<Reservation, Full> {
        let shared = &*self.0.shared;
        let bytes = record::estimated_size(recipients, &shared.identities);
        let is_failing =
            shared.when_full == WhenFull::Refuse && shared.is_failing.load(Ordering::Relaxed);
        let has_room = !is_failing && shared.records.reserve(bytes);
        match shared.when_full {
            WhenFull::Refuse if !has_room => {
                shared.metrics.refused();
                Err(Full)
            }
            WhenFull::Refuse | WhenFull::Drop => {
                Ok(Reservation { audit: self.clone(), bytes: has_room.then_some(bytes) })
            }
        }
    }

    /// Records a refused call. The first refusal per second, entry, method and reason gets a record
    /// of its own; the others are counted in one record.
    pub fn refused(&self, who: &CallInfo<'_>, reason: &'static str) {
        let shared = &*self.0.shared;
        let refusal = Refusal { entry: who.entry.map(str::to_owned), method: who.method, reason };
        if shared.sums().refused(refusal) {
            self.record_event(&Line::refused(shared, who, reason));
        }
    }

    /// Counts an unauthenticated client. One record per second, network and cause is written.
    pub fn unauthenticated(&self, from: Remote, cause: &'static str) {
        self.0.shared.sums().unauthenticated(from.network(), cause);
    }

    /// Records a refresh requested by a caller, with the reason if it failed.
    pub fn refreshed(&self, who: &CallInfo<'_>, grant: &str, failed: Option<&str>) {
        self.record_event(&Line::refreshed(&self.0.shared, who, grant, failed));
    }

    /// Records whether a changed part of the configuration was applied.
    pub fn reloaded(&self, what: &str, outcome: Outcome) {
        self.record_event(&Line::reloaded(&self.0.shared, what, outcome));
    }

    /// Reopens the file: it may have been moved.
    pub fn reopen(&self) {
        self.0.shared.reopen.store(true, Ordering::Release);
        self.0.thread.unpark();
    }

    /// Replaces the key that identities are hashed with.
    pub fn replace_key(&self, key: IdentityKey) {
        self.0.shared.identities.replace_key(key);
    }

    /// Why records are not being written; `None` if they are.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        self.0.shared.problem()
    }

    /// Writes the queued records as far as the shutdown timeout allows, then ends the writer.
    pub async fn end(&self) {
        self.0.end();
        let mut ended = self.0.ended.clone();
        let _ = timeout(SHUTDOWN_TIMEOUT, ended.wait_for(|ended| *ended)).await;
        let lost = self.0.shared.records.left() + self.0.shared.events.left();
        if lost > 0 {
            tracing::error!(records = lost, "audit records lost: they could not be written");
        }
    }

    fn record_event(&self, line: &Line<'_>) {
        let (text, queue) = (line.text(0), &self.0.shared.events);
        if queue.reserve(text.len()) {
            queue.add(&text, text.len());
            self.wake();
        } else {
            self.0.shared.metrics.dropped();
        }
    }

    fn wake(&self) {
        // The writer sets `is_idle` before its last check of the queues.
        fence(Ordering::SeqCst);
        let is_idle = &self.0.shared.is_idle;
        if is_idle.load(Ordering::Relaxed) && is_idle.swap(false, Ordering::Relaxed) {
            self.0.thread.unpark();
        }
    }
}

impl Reservation {
    /// Records signed tokens that are about to be returned.
    pub fn record<'a>(mut self, who: &CallInfo<'a>, minted: &Minted<'a>) {
        let shared = &*self.audit.0.shared;
        let Some(bytes) = self.bytes.take() else {
            shared.metrics.dropped();
            return;
        };
        let text = Line::of_minted(shared, who, minted).text(bytes);
        shared.records.add(&text, bytes);
        self.audit.wake();
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(bytes) = self.bytes {
            self.audit.0.shared.records.free(bytes);
        }
    }
}

impl Handle {
    fn end(&self) {
        self.shared.ending.store(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Reports that the writer ended, also after a panic.
struct WriterEnd {
    shared: Arc<Shared>,
    ending: watch::Sender<bool>,
}

impl Drop for WriterEnd {
    fn drop(&mut self) {
        *self.shared.state() = State::Failing("the audit writer thread has ended".to_owned());
        self.shared.is_failing.store(true, Ordering::Relaxed);
        self.ending.send_replace(true);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn new(config: &Config, clock: Clock, metrics: AuditMetrics) -> Self {
        Self {
            records: Queue::sharded(QUEUE_BYTES),
            events: Queue::single(EVENT_QUEUE_BYTES),
            sums: Mutex::default(),
            identities: config.identities.clone(),
            when_full: config.when_full,
            is_to_stdout: config.target == Target::Stdout,
            clock,
            metrics,
            is_failing: AtomicBool::new(false),
            state: Mutex::new(State::Healthy),
            is_idle: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        }
    }

    fn sums(&self) -> std::sync::MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn problem(&self) -> Option<String> {
        match &*self.state() {
            State::Failing(error) => Some(format!("audit records cannot be written: {error}")),
            State::Blocked(since) if self.clock.now().boot.since(*since) >= BLOCKED_AFTER => {
                Some("audit records cannot be written: the reader is not reading".to_owned())
            }
            State::Healthy | State::Blocked(_) => None,
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("when_full", &self.when_full).finish_non_exhaustive()
    }
}

impl fmt::Debug for CallInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallInfo").field("method", &self.method).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
