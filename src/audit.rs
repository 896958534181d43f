//! The audit log: a line of JSON for each token, chunk and refusal, queued before the answer
//! leaves.
//!
//! ```text
//! call ─► Place (room in the queue) ─► quota ─► sign ─► record ─► queue ─► writer ─► file
//! ```
//!
//! A call never waits for the file: records go into a bounded queue, and one thread writes them.
//! Where the queue is full, records are dropped and counted, or nothing is minted
//! ([`WhenFull`]). No record holds a token, a grant or a secret.

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

/// Bytes of records of mints and chunks that wait to be written.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// The same of all other records: no refused caller and no stranger can fill the other queue.
const ASIDE_BYTES: usize = 1024 * 1024;

/// How long the end waits for what is left to be written.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// A reader that takes nothing for this long is reported.
const BLOCKED: Duration = Duration::from_secs(5);

/// Where records are given. All clones are of one log, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Audit(Arc<Handle>);

/// The thread that writes, and what it shares with calls.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: thread::Thread,
    ended: watch::Receiver<bool>,
}

/// What calls and the writer share.
struct Shared {
    /// Of mints and chunks.
    records: Queue,
    /// Of everything else.
    aside: Queue,
    sums: Mutex<Sums>,
    identities: Identities,
    when_full: WhenFull,
    is_to_stdout: bool,
    clock: Clock,
    metrics: AuditMetrics,
    /// Whether writing, or opening the file, failed, and something still waits since then.
    is_failing: AtomicBool,
    state: Mutex<State>,
    /// Whether the writer waits for records.
    is_idle: AtomicBool,
    reopen: AtomicBool,
    ending: AtomicBool,
}

/// How writing goes.
#[derive(Debug)]
enum State {
    Well,
    /// What is to be written has been refused since then, without an error.
    Blocked(BootTime),
    /// With this error.
    Failing(String),
}

/// Who calls, and what.
#[derive(Clone, Copy)]
pub struct Who<'a> {
    /// The caller's name, where it has one.
    pub caller: Option<&'a dyn fmt::Display>,
    /// Its entry; none where everybody may do everything, or where it is in none.
    pub entry: Option<&'a str>,
    /// Where the call comes from.
    pub peer: Remote,
    /// The method; none of those that no row names.
    pub method: Option<&'static str>,
}

/// What is minted must be recorded, and there is no room or writing fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Room in the queue for one record; free again where nothing is recorded.
#[derive(Debug)]
pub struct Place {
    audit: Audit,
    /// None: there is none, and the record is dropped.
    bytes: Option<usize>,
}

/// Why the audit log does not start.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened.
    #[error("the audit log {0} cannot be opened: {1}")]
    Open(Target, io::Error),
    /// The thread that writes cannot be started.
    #[error("the thread that writes the audit log cannot be started: {0}")]
    Thread(io::Error),
}

impl Audit {
    /// Opens the log and starts its writer.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or the thread not be started.
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
        let told = Arc::clone(&audit.0.shared);
        metrics.audit_failing(move || told.trouble().is_some());
        Ok(audit)
    }

    /// A log without a writer: what is recorded stays in the queue.
    #[cfg(test)]
    pub(crate) fn unwritten(config: &Config, clock: Clock) -> Self {
        let shared = Arc::new(Shared::new(config, clock, Metrics::default().audit()));
        let (_, ended) = watch::channel(true);
        Self(Arc::new(Handle { shared, thread: thread::current(), ended }))
    }

    /// A log without a writer, in clear, that refuses what it has no room for.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let (target, key_files) = (Target::Stdout, crate::settings::KeyFiles::default());
        let (identities, when_full) = (Identities::Clear, WhenFull::Refuse);
        let config = Config { target, identities, when_full, key_origin: None, key_files };
        Self::unwritten(&config, Clock::system())
    }

    /// What is queued, mints and chunks before the rest.
    #[cfg(test)]
    pub(crate) fn queued(&self) -> String {
        let Shared { records, aside, .. } = &*self.0.shared;
        let batches = [records, aside].into_iter().flat_map(|queue| {
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

    /// Room for the record of tokens for these recipients.
    ///
    /// # Errors
    ///
    /// There is none, or writing fails, and nothing may be minted unrecorded.
    pub fn reserve(&self, recipients: &Recipients<'_>) -> Result<Place, Full> {
        let shared = &*self.0.shared;
        let bytes = record::room(recipients, &shared.identities);
        let is_failing =
            shared.when_full == WhenFull::Refuse && shared.is_failing.load(Ordering::Relaxed);
        let has_room = !is_failing && shared.records.reserve(bytes);
        match shared.when_full {
            WhenFull::Refuse if !has_room => {
                shared.metrics.refused();
                Err(Full)
            }
            WhenFull::Refuse | WhenFull::Drop => {
                Ok(Place { audit: self.clone(), bytes: has_room.then_some(bytes) })
            }
        }
    }

    /// A call was refused for this reason. The first of a second is recorded as it is, the others
    /// of its entry, method and reason by their number.
    pub fn refused(&self, who: &Who<'_>, reason: &'static str) {
        let shared = &*self.0.shared;
        let refusal = Refusal { entry: who.entry.map(str::to_owned), method: who.method, reason };
        if shared.sums().refused(refusal) {
            self.aside(&Line::refused(shared, who, reason));
        }
    }

    /// A client was not authenticated, for this cause: recorded as one sum a second of its
    /// network and cause.
    pub fn unauthenticated(&self, from: Remote, cause: &'static str) {
        self.0.shared.sums().unauthenticated(from.network(), cause);
    }

    /// A grant was refreshed for a caller, or not, for this reason.
    pub fn refreshed(&self, who: &Who<'_>, grant: &str, failed: Option<&str>) {
        self.aside(&Line::refreshed(&self.0.shared, who, grant, failed));
    }

    /// What changed in a part of the configuration was applied, or not.
    pub fn reloaded(&self, what: &str, outcome: Outcome) {
        self.aside(&Line::reloaded(&self.0.shared, what, outcome));
    }

    /// Opens the file again: it may have been moved.
    pub fn reopen(&self) {
        self.0.shared.reopen.store(true, Ordering::Release);
        self.0.thread.unpark();
    }

    /// Hashes identities with another key from now on.
    pub fn replace_key(&self, key: IdentityKey) {
        self.0.shared.identities.replace_key(key);
    }

    /// Why records are not being written, if they are not.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.0.shared.trouble()
    }

    /// Writes what is left, as far as that is possible in a moment, and ends the writer.
    pub async fn end(&self) {
        self.0.end();
        let mut ended = self.0.ended.clone();
        let _ = timeout(END_PATIENCE, ended.wait_for(|ended| *ended)).await;
        let lost = self.0.shared.records.left() + self.0.shared.aside.left();
        if lost > 0 {
            tracing::error!(records = lost, "audit records are lost: they could not be written");
        }
    }

    fn aside(&self, line: &Line<'_>) {
        let (text, queue) = (line.text(0), &self.0.shared.aside);
        if queue.reserve(text.len()) {
            queue.add(&text, text.len());
            self.wake();
        } else {
            self.0.shared.metrics.dropped();
        }
    }

    fn wake(&self) {
        // The writer says that it is idle before it looks for the last time.
        fence(Ordering::SeqCst);
        let is_idle = &self.0.shared.is_idle;
        if is_idle.load(Ordering::Relaxed) && is_idle.swap(false, Ordering::Relaxed) {
            self.0.thread.unpark();
        }
    }
}

impl Place {
    /// The tokens are signed, and handed out next.
    pub fn record<'a>(mut self, who: &Who<'a>, minted: &Minted<'a>) {
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

impl Drop for Place {
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

/// Reports the end of the writer, also where it panics.
struct WriterEnd {
    shared: Arc<Shared>,
    ending: watch::Sender<bool>,
}

impl Drop for WriterEnd {
    fn drop(&mut self) {
        *self.shared.state() = State::Failing("the writer has ended".to_owned());
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
            aside: Queue::single(ASIDE_BYTES),
            sums: Mutex::default(),
            identities: config.identities.clone(),
            when_full: config.when_full,
            is_to_stdout: config.target == Target::Stdout,
            clock,
            metrics,
            is_failing: AtomicBool::new(false),
            state: Mutex::new(State::Well),
            is_idle: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            ending: AtomicBool::new(false),
        }
    }

    fn sums(&self) -> std::sync::MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> Option<String> {
        match &*self.state() {
            State::Failing(error) => Some(format!("audit records are not written: {error}")),
            State::Blocked(since) if self.clock.now().boot.since(*since) >= BLOCKED => {
                Some("audit records are not written: nobody reads them".to_owned())
            }
            State::Well | State::Blocked(_) => None,
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

impl fmt::Debug for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Who").field("method", &self.method).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
