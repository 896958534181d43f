//! The writer thread.

use std::{
    io,
    sync::{
        Arc,
        atomic::{Ordering, fence},
    },
    thread,
    time::Duration,
};

use super::{
    Shared, State,
    output::Output,
    queue::{Batch, Queue},
    record::Line,
};
use crate::clock::BootTime;

/// Records of this period are written together.
const BATCH_PERIOD: Duration = Duration::from_millis(10);

/// When to retry a failed or blocked write.
const RETRY: Duration = Duration::from_millis(100);

/// How often the path is checked and sums are written.
const SECOND: Duration = Duration::from_secs(1);

/// Writes records to the output.
pub(super) struct Writer {
    output: Output,
    shared: Arc<Shared>,
    /// The batch being written.
    current: Option<Current>,
    next_second: BootTime,
}

/// A batch that is being written.
struct Current {
    batch: Batch,
    /// Whether the batch holds mints and chunks.
    is_of_mints: bool,
    /// The number of bytes written.
    written: usize,
    /// The start of the record to write next, or of the partly written one.
    record: usize,
    /// The file's length when a record was last left partly written.
    torn_at: Option<u64>,
}

/// The result of writing everything queued.
enum Progress {
    All,
    /// The write is blocked or failed, and is to be retried.
    Stalled,
}

impl Writer {
    pub(super) fn new(output: Output, shared: Arc<Shared>) -> Self {
        let next_second = shared.clock.now().boot + SECOND;
        Self { output, shared, current: None, next_second }
    }

    /// Writes records until shutdown is requested, then the remaining ones.
    pub(super) fn run(mut self) {
        let mut give_up = None;
        loop {
            let is_ending = self.shared.ending.load(Ordering::Acquire);
            self.each_second(is_ending);
            let progress = self.write_all();
            if is_ending {
                let now = self.shared.clock.now().boot;
                let give_up = *give_up.get_or_insert(now + super::SHUTDOWN_TIMEOUT);
                if matches!(progress, Progress::All) && self.is_idle() || now >= give_up {
                    return;
                }
            }
            match progress {
                Progress::All if self.wait_for_records() => {}
                Progress::All => thread::park_timeout(BATCH_PERIOD),
                Progress::Stalled => thread::park_timeout(RETRY),
            }
        }
    }

    /// Waits for records if there are none. Returns whether there are still none.
    fn wait_for_records(&self) -> bool {
        self.shared.is_idle.store(true, Ordering::Relaxed);
        // A call that adds a record checks `is_idle` after such a fence too.
        fence(Ordering::SeqCst);
        let is_idle = self.is_idle() && !self.shared.ending.load(Ordering::Relaxed);
        if is_idle {
            thread::park_timeout(SECOND);
        }
        self.shared.is_idle.store(false, Ordering::Relaxed);
        // The record that woke the thread may be the first of many.
        is_idle && self.is_idle()
    }

    fn is_idle(&self) -> bool {
        self.shared.records.is_empty() && self.shared.events.is_empty()
    }

    /// Follows the path, and queues the sums of the completed second.
    fn each_second(&mut self, is_ending: bool) {
        let now = self.shared.clock.now().boot;
        let reopened = if self.shared.reopen.swap(false, Ordering::AcqRel) {
            self.output.reopen()
        } else if now >= self.next_second {
            self.output.follow()
        } else {
            Ok(false)
        };
        match reopened {
            Ok(true) => {
                // The rest of a partly written record is useless in another file.
                if let Some(current) = &mut self.current {
                    current.restart_record();
                }
                tracing::info!("audit log reopened");
            }
            Ok(false) => {}
            Err(error) => self.failed(&error),
        }
        if now >= self.next_second || is_ending {
            self.next_second = now + SECOND;
            self.add_sums();
        }
    }

    fn add_sums(&self) {
        let shared = &*self.shared;
        if shared.sums().is_empty() {
            return;
        }
        let sums = shared.sums().take();
        for (sum, count) in sums {
            let text = Line::sum(shared, &sum, count).text(0);
            if shared.events.reserve(text.len()) {
                shared.events.add(&text, text.len());
            } else {
                shared.metrics.dropped();
            }
        }
    }

    /// Writes the rest of the current batch, then the batches that each buffer holds now.
    fn write_all(&mut self) -> Progress {
        if let Some(current) = self.current.take() {
            self.current = self.write(current);
        }
        let shared = Arc::clone(&self.shared);
        for (queue, is_of_mints) in [(&shared.records, true), (&shared.events, false)] {
            for buffer in 0..queue.buffers() {
                if self.current.is_some() {
                    return Progress::Stalled;
                }
                for _ in 0..queue.batches(buffer) {
                    let Some(batch) = queue.take(buffer) else { break };
                    let current =
                        Current { batch, is_of_mints, written: 0, record: 0, torn_at: None };
                    self.current = self.write(current);
                    if self.current.is_some() {
                        return Progress::Stalled;
                    }
                }
            }
        }
        if self.current.is_some() {
            return Progress::Stalled;
        }
        if self.output.is_open() {
            self.queue_drained();
        }
        Progress::All
    }

    /// Writes a batch; returns its unwritten rest if the write fails or blocks.
    fn write(&mut self, mut current: Current) -> Option<Current> {
        let shared = Arc::clone(&self.shared);
        if current.torn_at.take_if(|length| self.output.len() < *length).is_some() {
            // The file was truncated, including the beginning of this record.
            current.restart_record();
        }
        let bytes = current.batch.bytes.len();
        while current.written < bytes {
            let rest = current.batch.bytes.get(current.written..).unwrap_or_default();
            self.write_starting();
            match self.output.write(rest) {
                Ok(written) => {
                    self.write_succeeded();
                    let records = current.advance(written);
                    shared.metrics.written(records);
                    current.queue(&shared).written(records);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let is_torn = current.written > current.record;
                    current.torn_at = is_torn.then(|| self.output.len());
                    if error.kind() == io::ErrorKind::BrokenPipe {
                        // The next reader has not read the beginning of this record.
                        current.restart_record();
                    }
                    if error.kind() != io::ErrorKind::WouldBlock {
                        self.failed(&error);
                    }
                    return Some(current);
                }
            }
        }
        let queue = current.queue(&shared);
        queue.free(bytes);
        queue.recycle(current.batch.bytes);
        None
    }

    /// Notes the time: a write can block for as long as the reader does not read.
    fn write_starting(&self) {
        let mut state = self.shared.state();
        if matches!(*state, State::Healthy) {
            *state = State::Blocked(self.shared.clock.now().boot);
        }
    }

    /// Ends a blockage but not a failure: a nearly full disk accepts a few bytes now and then.
    fn write_succeeded(&self) {
        let mut state = self.shared.state();
        if matches!(*state, State::Blocked(_)) {
            *state = State::Healthy;
        }
    }

    /// Everything queued is written, which ends a failure.
    fn queue_drained(&self) {
        let before = std::mem::replace(&mut *self.shared.state(), State::Healthy);
        self.shared.is_failing.store(false, Ordering::Relaxed);
        if let State::Failing(_) = before {
            tracing::info!("writing audit records recovered");
        }
    }

    fn failed(&self, error: &io::Error) {
        let failing = State::Failing(error.to_string());
        let before = std::mem::replace(&mut *self.shared.state(), failing);
        self.shared.is_failing.store(true, Ordering::Relaxed);
        if !matches!(before, State::Failing(_)) {
            tracing::error!(%error, "writing audit records failed; retrying");
        }
    }
}

impl Current {
    fn queue<'a>(&self, shared: &'a Shared) -> &'a Queue {
        if self.is_of_mints { &shared.records } else { &shared.events }
    }

    /// Notes that `written` more bytes are written. Returns how many records end among them.
    fn advance(&mut self, written: usize) -> u64 {
        let from = self.written;
        self.written += written;
        let new = self.batch.bytes.get(from..self.written).unwrap_or_default();
        let whole = new.split_inclusive(|byte| *byte == b'\n').filter(|it| it.ends_with(b"\n"));
        let (records, bytes) =
            whole.fold((0, 0), |(records, bytes), it| (records + 1, bytes + it.len()));
        if records > 0 {
            self.record = from + bytes;
        }
        records
    }

    /// Restarts the partly written record.
    fn restart_record(&mut self) {
        self.written = self.record;
        self.torn_at = None;
    }
}
