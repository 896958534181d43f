//! The queues of the pool, and whose turn is next.

use std::{collections::BTreeMap, mem, ops::Bound, sync::Arc, time::Duration};

use super::{Job, Lane};

/// The weight of the latest signature in the moving average is one part in this many.
const WEIGHT: u32 = 16;

/// An upper bound of the time a signature takes.
const MAX_SIGNATURE_TIME: Duration = Duration::from_millis(100);

/// A queued job, and how many of its tokens had their turn.
pub(super) struct Entry {
    job: Arc<Job>,
    next: usize,
    count: usize,
}

impl Entry {
    pub(super) const fn new(job: Arc<Job>, count: usize) -> Self {
        Self { job, next: 0, count }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    const fn left(&self) -> usize {
        self.count - self.next
    }
}

/// One token to sign.
pub(super) struct Turn {
    pub(super) job: Arc<Job>,
    /// The index of the token in the job.
    pub(super) number: usize,
    /// Whether it is the job's first.
    pub(super) is_first: bool,
}

/// The two queues.
pub(super) struct Queues {
    ones: BTreeMap<u64, Entry>,
    chunks: BTreeMap<u64, Entry>,
    /// The chunk that had the last turn.
    served: u64,
    next_ticket: u64,
    most: usize,
    /// Tokens queued in chunks.
    in_chunks: usize,
    /// Threads that are signing.
    busy: u32,
    /// The moving average of the time a signature takes; zero before the first.
    mean: Duration,
    is_closed: bool,
}

impl Queues {
    /// Empty queues that hold up to `max` single tokens.
    pub(super) const fn new(most: usize) -> Self {
        Self {
            ones: BTreeMap::new(),
            chunks: BTreeMap::new(),
            served: 0,
            next_ticket: 0,
            most,
            in_chunks: 0,
            busy: 0,
            mean: Duration::ZERO,
            is_closed: false,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.ones.len() >= self.most
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Closes the queues; returns what is queued.
    pub(super) fn close(&mut self) -> [BTreeMap<u64, Entry>; 2] {
        self.is_closed = true;
        self.in_chunks = 0;
        [mem::take(&mut self.ones), mem::take(&mut self.chunks)]
    }

    /// The number of queued tokens.
    pub(super) fn waiting(&self) -> usize {
        self.ones.len() + self.in_chunks
    }

    /// How long a new job of `count` tokens would wait until the last of them has its turn. Zero if
    /// a thread is free, however slow earlier signatures were.
    pub(super) fn expected(&self, lane: Lane, count: usize, threads: u32) -> Duration {
        if self.waiting() == 0 && self.busy < threads {
            return Duration::ZERO;
        }
        let before = match lane {
            Lane::One => self.ones.len(),
            // Chunks take turns, so each of them gets as many turns as this one before its last.
            Lane::Chunk => {
                let turns = count.saturating_mul(self.chunks.len()).min(self.in_chunks);
                self.ones.len() + turns + count.saturating_sub(1)
            }
        };
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        self.mean.saturating_mul(before.saturating_add(1)) / threads
    }

    /// Appends a job to its queue; the ticket removes it.
    pub(super) fn push(&mut self, lane: Lane, entry: Entry) -> u64 {
        self.next_ticket += 1;
        if lane == Lane::Chunk {
            self.in_chunks += entry.left();
        }
        let ticket = self.next_ticket;
        self.queue(lane).insert(ticket, entry);
        ticket
    }

    /// Removes a job, unless all its tokens had their turn.
    pub(super) fn remove(&mut self, lane: Lane, ticket: u64) {
        let removed = self.queue(lane).remove(&ticket);
        if let (Lane::Chunk, Some(entry)) = (lane, removed) {
            self.in_chunks -= entry.left();
        }
    }

    /// The next turn, and whether another one is queued.
    pub(super) fn next(&mut self) -> Option<(Turn, bool)> {
        if let Some((_, Entry { job, .. })) = self.ones.pop_first() {
            self.busy += 1;
            return Some((Turn { job, number: 0, is_first: true }, self.waiting() > 0));
        }
        let after = (Bound::Excluded(self.served), Bound::Unbounded);
        let next = self.chunks.range(after).next().or_else(|| self.chunks.iter().next());
        let ticket = *next?.0;
        let entry = self.chunks.get_mut(&ticket)?;
        let turn =
            Turn { job: Arc::clone(&entry.job), number: entry.next, is_first: entry.next == 0 };
        entry.next += 1;
        if entry.left() == 0 {
            self.chunks.remove(&ticket);
        }
        self.served = ticket;
        self.in_chunks -= 1;
        self.busy += 1;
        Some((turn, self.waiting() > 0))
    }

    /// Records how long a signature took. A much longer time than [`MAX_SIGNATURE_TIME`] has another cause and
    /// is capped.
    pub(super) fn ended(&mut self, took: Duration) {
        let took = took.min(MAX_SIGNATURE_TIME);
        self.busy = self.busy.saturating_sub(1);
        self.mean =
            if self.mean.is_zero() { took } else { (self.mean * (WEIGHT - 1) + took) / WEIGHT };
    }

    const fn queue(&mut self, lane: Lane) -> &mut BTreeMap<u64, Entry> {
        match lane {
            Lane::One => &mut self.ones,
            Lane::Chunk => &mut self.chunks,
        }
    }
}
