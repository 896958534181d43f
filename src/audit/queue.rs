//! The bounded queue of records. It is sharded into a few buffers by thread, so that calls rarely
//! contend.

use std::{
    collections::VecDeque,
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// The number of shards. Further threads share them.
const SHARDS: usize = 16;

/// The maximum size of a batch, unless one record is longer. Doubling a larger buffer would use
/// more memory than its records need.
const MAX_BATCH: usize = 256 * 1024;

thread_local! {
    /// The thread's number.
    static THREAD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// A bounded queue of records.
pub(super) struct Queue {
    shards: Vec<Mutex<Shard>>,
    /// Bytes that are reserved, queued or being written.
    bytes: AtomicUsize,
    max: usize,
    /// Records that the writer has taken but not written.
    in_flight: AtomicU64,
}

/// The records of some of the threads.
#[derive(Default)]
struct Shard {
    /// Completed batches, the oldest first.
    complete: VecDeque<Batch>,
    last: Batch,
}

/// A number of whole records.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) records: u64,
}

impl Queue {
    /// A queue of up to `max` bytes for many threads.
    pub(super) fn sharded(max: usize) -> Self {
        Self::of(SHARDS, max)
    }

    /// A queue of up to `max` bytes that keeps the order of its records.
    pub(super) fn single(max: usize) -> Self {
        Self::of(1, max)
    }

    fn of(shards: usize, max: usize) -> Self {
        let shards = (0..shards).map(|_| Mutex::default()).collect();
        Self { shards, bytes: AtomicUsize::new(0), max, in_flight: AtomicU64::new(0) }
    }

    /// Reserves `bytes`; returns false if they do not fit.
    pub(super) fn reserve(&self, bytes: usize) -> bool {
        let taken = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = taken.saturating_add(bytes) <= self.max;
        if !fits {
            self.free(bytes);
        }
        fits
    }

    /// Releases `bytes`.
    pub(super) fn free(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Adds a record for which `reserved` bytes were reserved.
    pub(super) fn add(&self, record: &[u8], reserved: usize) {
        // The reservation is an estimate.
        self.bytes.fetch_add(record.len(), Ordering::Relaxed);
        self.free(reserved);
        let thread = THREAD.with(|thread| *thread);
        if let Some(shard) = self.shards.get(thread % self.shards.len()) {
            lock(shard).add(record);
        }
    }

    /// The bytes that count against the limit.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether no record is queued.
    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| lock(shard).batches() == 0)
    }

    /// The number of buffers.
    pub(super) fn buffers(&self) -> usize {
        self.shards.len()
    }

    /// The number of batches in a buffer.
    pub(super) fn batches(&self, buffer: usize) -> usize {
        self.shards.get(buffer).map_or(0, |shard| lock(shard).batches())
    }

    /// Takes the oldest batch of a buffer to write it; `None` if the buffer is empty. Its bytes
    /// count until they are released.
    pub(super) fn take(&self, buffer: usize) -> Option<Batch> {
        let mut shard = lock(self.shards.get(buffer)?);
        let batch = match shard.complete.pop_front() {
            Some(batch) => batch,
            None if shard.last.records == 0 => return None,
            None => mem::take(&mut shard.last),
        };
        self.in_flight.fetch_add(batch.records, Ordering::Relaxed);
        Some(batch)
    }

    /// Notes that this many of the taken records are written.
    pub(super) fn written(&self, records: u64) {
        self.in_flight.fetch_sub(records, Ordering::Relaxed);
    }

    /// The number of records that are not written yet.
    pub(super) fn left(&self) -> u64 {
        let waiting = self.shards.iter().map(|shard| lock(shard).records()).sum::<u64>();
        waiting + self.in_flight.load(Ordering::Relaxed)
    }

    /// Returns a batch's buffer for reuse.
    pub(super) fn recycle(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        if bytes.capacity() <= MAX_BATCH
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
        if length > 0 && length + record.len() > MAX_BATCH {
            self.complete.push_back(mem::take(&mut self.last));
        } else if length + record.len() > capacity {
            let wanted = (capacity * 2).min(MAX_BATCH).max(length + record.len());
            self.last.bytes.reserve_exact(wanted - length);
        }
        self.last.bytes.extend_from_slice(record);
        self.last.records += 1;
    }

    fn batches(&self) -> usize {
        self.complete.len() + usize::from(self.last.records > 0)
    }

    fn records(&self) -> u64 {
        self.complete.iter().map(|batch| batch.records).sum::<u64>() + self.last.records
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_queue_uses_little_more_memory_than_its_records() {
        let max = 4 * 1024 * 1024;
        let (queue, record) = (Queue::sharded(max), [b'x'; 700]);
        while queue.reserve(record.len()) {
            queue.add(&record, record.len());
        }
        let records = queue.left();
        assert_eq!(queue.bytes() as u64, records * 700);
        let mut held = 0;
        for buffer in 0..queue.buffers() {
            while let Some(batch) = queue.take(buffer) {
                assert!(batch.bytes.len() <= MAX_BATCH);
                held += batch.bytes.capacity();
                queue.written(batch.records);
            }
        }
        assert!(held <= max + MAX_BATCH, "{held}");
        assert!(queue.is_empty() && queue.left() == 0);
    }
}
