//! Records that wait to be written: a bounded number of bytes, in one buffer for each of a few
//! threads, so that calls do not meet.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// Threads that have a buffer of their own; more of them share.
const SHARDS: usize = 16;

/// Bytes of a batch, unless one record is longer: a buffer that grew further by doubling would
/// take more memory than its records.
const PIECE: usize = 256 * 1024;

thread_local! {
    /// The thread's number.
    static THREAD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// Records that wait to be written.
pub(super) struct Queue {
    shards: Vec<Mutex<Shard>>,
    /// Reserved, waiting, or being written.
    bytes: AtomicUsize,
    most: usize,
    /// Records that the writer has taken and not written.
    in_hand: AtomicU64,
}

/// The records of a few threads.
#[derive(Default)]
struct Shard {
    /// Those that no more are added to, the oldest first.
    full: VecDeque<Batch>,
    last: Batch,
}

/// Whole records.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) records: u64,
}

impl Queue {
    /// For as many bytes, from many threads.
    pub(super) fn sharded(most: usize) -> Self {
        Self::of(SHARDS, most)
    }

    /// For as many bytes, in one order.
    pub(super) fn single(most: usize) -> Self {
        Self::of(1, most)
    }

    fn of(shards: usize, most: usize) -> Self {
        let shards = (0..shards).map(|_| Mutex::default()).collect();
        Self { shards, bytes: AtomicUsize::new(0), most, in_hand: AtomicU64::new(0) }
    }

    /// Reserves room for so many bytes, where it is there.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let taken = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = taken.saturating_add(bytes) <= self.most;
        if !fits {
            self.free(bytes);
        }
        fits
    }

    /// Frees so many bytes.
    pub(super) fn free(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Adds a record, for which so much was reserved.
    pub(super) fn add(&self, record: &[u8], reserved: usize) {
        // What was reserved is an estimate.
        self.bytes.fetch_add(record.len(), Ordering::Relaxed);
        self.free(reserved);
        let thread = THREAD.with(|thread| *thread);
        if let Some(shard) = self.shards.get(thread % self.shards.len()) {
            lock(shard).add(record);
        }
    }

    /// What counts against the bound.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| lock(shard).batches() == 0)
    }

    /// How many buffers there are.
    pub(super) fn buffers(&self) -> usize {
        self.shards.len()
    }

    /// How many batches a buffer has.
    pub(super) fn batches(&self, buffer: usize) -> usize {
        self.shards.get(buffer).map_or(0, |shard| lock(shard).batches())
    }

    /// The oldest batch of a buffer, to be written; none where it has none. Its bytes count until
    /// they are freed.
    pub(super) fn take(&self, buffer: usize) -> Option<Batch> {
        let mut shard = lock(self.shards.get(buffer)?);
        let batch = match shard.full.pop_front() {
            Some(batch) => batch,
            None if shard.last.records == 0 => return None,
            None => mem::take(&mut shard.last),
        };
        self.in_hand.fetch_add(batch.records, Ordering::Relaxed);
        Some(batch)
    }

    /// So many records that were taken are written.
    pub(super) fn written(&self, records: u64) {
        self.in_hand.fetch_sub(records, Ordering::Relaxed);
    }

    /// The records that are not written yet.
    pub(super) fn left(&self) -> u64 {
        let waiting = self.shards.iter().map(|shard| lock(shard).records()).sum::<u64>();
        waiting + self.in_hand.load(Ordering::Relaxed)
    }

    /// Gives a buffer back that was taken, so that it need not grow again.
    pub(super) fn recycle(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        if bytes.capacity() <= PIECE
            && let Some(mut shard) =
                self.shards.iter().map(lock).find(|it| it.last.bytes.capacity() == 0)
        {
            shard.last.bytes = bytes;
        }
    }
}

impl Shard {
    fn add(&mut self, record: &[u8]) {
        let (length, capacity) = (self.last.bytes.len(), self.last.bytes.capacity());
        if length > 0 && length + record.len() > PIECE {
            self.full.push_back(mem::take(&mut self.last));
        } else if length + record.len() > capacity {
            let wanted = (capacity * 2).min(PIECE).max(length + record.len());
            self.last.bytes.reserve_exact(wanted - length);
        }
        self.last.bytes.extend_from_slice(record);
        self.last.records += 1;
    }

    fn batches(&self) -> usize {
        self.full.len() + usize::from(self.last.records > 0)
    }

    fn records(&self) -> u64 {
        self.full.iter().map(|batch| batch.records).sum::<u64>() + self.last.records
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_holds_little_more_memory_than_its_records() {
        let most = 4 * 1024 * 1024;
        let (queue, record) = (Queue::sharded(most), [b'x'; 700]);
        while queue.reserve(record.len()) {
            queue.add(&record, record.len());
        }
        let records = queue.left();
        assert_eq!(queue.bytes() as u64, records * 700);
        let mut held = 0;
        for buffer in 0..queue.buffers() {
            while let Some(batch) = queue.take(buffer) {
                assert!(batch.bytes.len() <= PIECE);
                held += batch.bytes.capacity();
                queue.written(batch.records);
            }
        }
        assert!(held <= most + PIECE, "{held}");
        assert!(queue.is_empty() && queue.left() == 0);
    }
}
