//! Records that wait to be written: a bounded number of bytes, in one buffer for each of a few
//! threads, so that calls do not meet.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

/// Threads that have a buffer of their own; more of them share.
const SHARDS: usize = 16;

/// A buffer that has grown beyond this is not kept.
const KEPT: usize = 256 * 1024;

thread_local! {
    /// The thread's number.
    static THREAD: usize = {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    };
}

/// Records that wait to be written.
pub(super) struct Queue {
    shards: Vec<Mutex<Batch>>,
    /// Reserved, waiting, or being written.
    bytes: AtomicUsize,
    most: usize,
    /// Records that the writer has taken and not written.
    in_hand: AtomicU64,
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
            let mut batch = lock(shard);
            batch.bytes.extend_from_slice(record);
            batch.records += 1;
        }
    }

    /// What counts against the bound.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| lock(shard).bytes.is_empty())
    }

    /// How many buffers there are.
    pub(super) fn buffers(&self) -> usize {
        self.shards.len()
    }

    /// The records of a buffer, to be written; none where it has none. Their bytes count until
    /// they are freed.
    pub(super) fn take(&self, buffer: usize) -> Option<Batch> {
        let mut waiting = lock(self.shards.get(buffer)?);
        if waiting.records == 0 {
            return None;
        }
        self.in_hand.fetch_add(waiting.records, Ordering::Relaxed);
        Some(mem::take(&mut *waiting))
    }

    /// So many records that were taken are written.
    pub(super) fn written(&self, records: u64) {
        self.in_hand.fetch_sub(records, Ordering::Relaxed);
    }

    /// The records that are not written yet.
    pub(super) fn left(&self) -> u64 {
        let waiting = self.shards.iter().map(|shard| lock(shard).records).sum::<u64>();
        waiting + self.in_hand.load(Ordering::Relaxed)
    }

    /// Gives a buffer back that was taken, so that it need not grow again.
    pub(super) fn recycle(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        if bytes.capacity() <= KEPT
            && let Some(mut batch) =
                self.shards.iter().map(lock).find(|it| it.bytes.capacity() == 0)
        {
            batch.bytes = bytes;
        }
    }
}

fn lock(shard: &Mutex<Batch>) -> MutexGuard<'_, Batch> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
