//! The thread that writes records.

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

/// Records of this time are written together.
const GATHER: Duration = Duration::from_millis(10);

/// When to try again what was refused.
const RETRY: Duration = Duration::from_millis(100);

/// How often the path is looked at, and what is summed is written.
const SECOND: Duration = Duration::from_secs(1);

/// Writes records.
pub(super) struct Writer {
    output: Output,
    shared: Arc<Shared>,
    /// What is being written.
    current: Option<Current>,
    next_second: BootTime,
}

/// A batch that is being written.
struct Current {
    batch: Batch,
    /// Whether it is of mints and chunks.
    is_of_mints: bool,
    /// Bytes that are written.
    written: usize,
    /// Where the record begins that is written next, or in part.
    record: usize,
    /// How long the file was when a part of a record was written last.
    torn_at: Option<u64>,
}

/// The result of writing all that there is.
enum Done {
    All,
    /// Nobody reads, or it failed; it is to be tried again.
    Refused,
}

impl Writer {
    pub(super) fn new(output: Output, shared: Arc<Shared>) -> Self {
        let next_second = shared.clock.now().boot + SECOND;
        Self { output, shared, current: None, next_second }
    }

    /// Writes until the end is asked for, and what there is then.
    pub(super) fn run(mut self) {
        let mut give_up = None;
        loop {
            let is_ending = self.shared.ending.load(Ordering::Acquire);
            self.each_second(is_ending);
            let done = self.write_all();
            if is_ending {
                let now = self.shared.clock.now().boot;
                let give_up = *give_up.get_or_insert(now + super::END_PATIENCE);
                if matches!(done, Done::All) && self.is_idle() || now >= give_up {
                    return;
                }
            }
            match done {
                Done::All if self.wait_for_records() => {}
                Done::All => thread::park_timeout(GATHER),
                Done::Refused => thread::park_timeout(RETRY),
            }
        }
    }

    /// Waits while there is nothing; whether there was nothing.
    fn wait_for_records(&self) -> bool {
        self.shared.is_idle.store(true, Ordering::Relaxed);
        // Who adds a record looks whether this is idle behind such a fence too.
        fence(Ordering::SeqCst);
        let is_idle = self.is_idle() && !self.shared.ending.load(Ordering::Relaxed);
        if is_idle {
            thread::park_timeout(SECOND);
        }
        self.shared.is_idle.store(false, Ordering::Relaxed);
        // What woke it may be the first of many.
        is_idle && self.is_idle()
    }

    fn is_idle(&self) -> bool {
        self.shared.records.is_empty() && self.shared.aside.is_empty()
    }

    /// Follows the path, and writes the sums of the second that is over.
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
                // The rest of a record would mean nothing in another file.
                if let Some(current) = &mut self.current {
                    current.begin_again();
                }
                tracing::info!("the audit log was opened again");
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
            if shared.aside.reserve(text.len()) {
                shared.aside.add(&text, text.len());
            } else {
                shared.metrics.dropped();
            }
        }
    }

    /// Writes what is left of a batch, and then what each buffer holds: there may be more by then.
    fn write_all(&mut self) -> Done {
        if let Some(current) = self.current.take() {
            self.current = self.write(current);
        }
        let shared = Arc::clone(&self.shared);
        for (queue, is_of_mints) in [(&shared.records, true), (&shared.aside, false)] {
            for buffer in 0..queue.buffers() {
                if self.current.is_some() {
                    return Done::Refused;
                }
                for _ in 0..queue.batches(buffer) {
                    let Some(batch) = queue.take(buffer) else { break };
                    let current =
                        Current { batch, is_of_mints, written: 0, record: 0, torn_at: None };
                    self.current = self.write(current);
                    if self.current.is_some() {
                        return Done::Refused;
                    }
                }
            }
        }
        if self.current.is_some() {
            return Done::Refused;
        }
        if self.output.is_open() {
            self.wrote_all();
        }
        Done::All
    }

    /// Writes a batch; what is left of it where that is refused.
    fn write(&mut self, mut current: Current) -> Option<Current> {
        let shared = Arc::clone(&self.shared);
        if current.torn_at.take_if(|length| self.output.len() < *length).is_some() {
            // The file was emptied, and with it the beginning of the record.
            current.begin_again();
        }
        let bytes = current.batch.bytes.len();
        while current.written < bytes {
            let piece = current.batch.bytes.get(current.written..).unwrap_or_default();
            self.begins_to_write();
            match self.output.write(piece) {
                Ok(written) => {
                    self.wrote();
                    let records = current.advance(written);
                    shared.metrics.written(records);
                    current.queue(&shared).written(records);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let is_torn = current.written > current.record;
                    current.torn_at = is_torn.then(|| self.output.len());
                    if error.kind() == io::ErrorKind::BrokenPipe {
                        // The next reader does not have its beginning.
                        current.begin_again();
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

    /// A write may be held for as long as nobody reads.
    fn begins_to_write(&self) {
        let mut state = self.shared.state();
        if matches!(*state, State::Well) {
            *state = State::Blocked(self.shared.clock.now().boot);
        }
    }

    /// Something was written. That ends no failure yet: a disk that is nearly full takes a little
    /// now and then.
    fn wrote(&self) {
        let mut state = self.shared.state();
        if matches!(*state, State::Blocked(_)) {
            *state = State::Well;
        }
    }

    /// Nothing waits any more.
    fn wrote_all(&self) {
        let before = std::mem::replace(&mut *self.shared.state(), State::Well);
        self.shared.is_failing.store(false, Ordering::Relaxed);
        if let State::Failing(_) = before {
            tracing::info!("audit records are written again");
        }
    }

    fn failed(&self, error: &io::Error) {
        let failing = State::Failing(error.to_string());
        let before = std::mem::replace(&mut *self.shared.state(), failing);
        self.shared.is_failing.store(true, Ordering::Relaxed);
        if !matches!(before, State::Failing(_)) {
            tracing::error!(%error, "audit records cannot be written");
        }
    }
}

impl Current {
    fn queue<'a>(&self, shared: &'a Shared) -> &'a Queue {
        if self.is_of_mints { &shared.records } else { &shared.aside }
    }

    /// So many more bytes are written: how many records end among them.
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

    /// Writes the record again that was written in part.
    fn begin_again(&mut self) {
        self.written = self.record;
        self.torn_at = None;
    }
}
