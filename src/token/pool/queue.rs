//! Who waits for a signature, and whose turn is next.

use std::{collections::BTreeMap, mem, ops::Bound, sync::Arc, time::Duration};

use super::{Job, Lane};

/// How much of the mean the latest signature is.
const WEIGHT: u32 = 16;

/// Longer than any signature takes.
const LONGEST: Duration = Duration::from_millis(100);

/// A job that waits, and how many of its tokens have had their turn.
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
    /// Which of the job's tokens.
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
    /// Tokens that wait in chunks.
    in_chunks: usize,
    /// Threads that sign.
    busy: u32,
    /// What a signature takes, in the mean of the latest; none before the first.
    mean: Duration,
    is_closed: bool,
}

impl Queues {
    /// Empty ones; at most so many single tokens wait.
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

    /// Takes no more; returns what waits.
    pub(super) fn close(&mut self) -> [BTreeMap<u64, Entry>; 2] {
        self.is_closed = true;
        self.in_chunks = 0;
        [mem::take(&mut self.ones), mem::take(&mut self.chunks)]
    }

    /// Tokens that wait.
    pub(super) fn waiting(&self) -> usize {
        self.ones.len() + self.in_chunks
    }

    /// How long so many tokens that come now would wait until the last of them has its turn; none
    /// at all where a thread is free, however long signatures took before.
    pub(super) fn expected(&self, lane: Lane, count: usize, threads: u32) -> Duration {
        if self.waiting() == 0 && self.busy < threads {
            return Duration::ZERO;
        }
        let before = match lane {
            Lane::One => self.ones.len(),
            // Chunks take turns, so each of them has as many before the last turn of this one.
            Lane::Chunk => {
                let turns = count.saturating_mul(self.chunks.len()).min(self.in_chunks);
                self.ones.len() + turns + count.saturating_sub(1)
            }
        };
        let before = u32::try_from(before).unwrap_or(u32::MAX);
        self.mean.saturating_mul(before.saturating_add(1)) / threads
    }

    /// Puts it at the end of its queue; its ticket takes it out again.
    pub(super) fn push(&mut self, lane: Lane, entry: Entry) -> u64 {
        self.next_ticket += 1;
        if lane == Lane::Chunk {
            self.in_chunks += entry.left();
        }
        let ticket = self.next_ticket;
        self.queue(lane).insert(ticket, entry);
        ticket
    }

    /// Takes it out, unless it has had all its turns.
    pub(super) fn remove(&mut self, lane: Lane, ticket: u64) {
        let removed = self.queue(lane).remove(&ticket);
        if let (Lane::Chunk, Some(entry)) = (lane, removed) {
            self.in_chunks -= entry.left();
        }
    }

    /// The next turn, and whether another one waits behind it.
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

    /// A signature took so long; one that took much longer than any does was held up by
    /// something else.
    pub(super) fn ended(&mut self, took: Duration) {
        let took = took.min(LONGEST);
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
