//! Limits the buffered bytes of incomplete requests, and decides which of them may continue.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// Bytes of one connection's incomplete requests; above it only the oldest of them continues.
const MAX_CONNECTION_BYTES: usize = 1024 * 1024;

/// Bytes of all incomplete requests; above it only the oldest of all continues.
const MAX_SERVER_BYTES: usize = 64 * 1024 * 1024;

/// Bytes of one connection whose capacity is withheld. They keep the connection's window closed,
/// and the continuing request needs a part of that window.
const MAX_WITHHELD_BYTES: usize = 512 * 1024;

/// The incomplete requests of all connections.
#[derive(Clone, Debug, Default)]
pub struct Uploads(Arc<Mutex<Table>>);

/// The incomplete requests of one connection.
#[derive(Clone, Debug)]
pub struct ConnectionUploads {
    connection: u64,
    all: Uploads,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    bytes: usize,
    /// By age, oldest first.
    open: BTreeMap<u64, Open>,
    connections: HashMap<u64, Connection>,
}

#[derive(Debug)]
struct Open {
    connection: u64,
    bytes: usize,
    waiting: usize,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Connection {
    bytes: usize,
    waiting: usize,
    /// By age, oldest first.
    open: BTreeSet<u64>,
}

/// More bytes of a connection are withheld than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooManyBytes;

/// One incomplete request, until it is dropped.
#[derive(Debug)]
pub(super) struct Upload {
    number: u64,
    all: Uploads,
}

impl Uploads {
    /// The uploads of a new connection.
    #[must_use]
    pub fn of_connection(&self) -> ConnectionUploads {
        let mut table = self.lock();
        let connection = table.number();
        drop(table);
        ConnectionUploads { connection, all: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ConnectionUploads {
    pub(super) fn begin(&self) -> Upload {
        let mut table = self.all.lock();
        let (number, connection) = (table.number(), self.connection);
        table.connections.entry(connection).or_default().open.insert(number);
        table.open.insert(number, Open { connection, bytes: 0, waiting: 0, waker: None });
        drop(table);
        Upload { number, all: self.all.clone() }
    }
}

impl Upload {
    /// Counts received bytes, whose capacity is withheld for now.
    ///
    /// # Errors
    ///
    /// Too many bytes of the connection are withheld.
    pub(super) fn received(&self, bytes: usize) -> Result<(), TooManyBytes> {
        let mut table = self.all.lock();
        let may_continue = table.may_continue(self.number);
        table.bytes += bytes;
        let Table { open, connections, .. } = &mut *table;
        let Some(upload) = open.get_mut(&self.number) else { return Ok(()) };
        upload.bytes += bytes;
        upload.waiting += bytes;
        let Some(connection) = connections.get_mut(&upload.connection) else { return Ok(()) };
        connection.bytes += bytes;
        connection.waiting += bytes;
        if may_continue || connection.waiting <= MAX_WITHHELD_BYTES {
            Ok(())
        } else {
            Err(TooManyBytes)
        }
    }

    /// Ready once the request may continue, with the number of bytes whose capacity was withheld.
    pub(super) fn poll_capacity(&self, waker: &Waker) -> Poll<usize> {
        let mut table = self.all.lock();
        let may_continue = table.may_continue(self.number);
        let Table { open, connections, .. } = &mut *table;
        let Some(upload) = open.get_mut(&self.number) else { return Poll::Ready(0) };
        if !may_continue {
            upload.waker = Some(waker.clone());
            return Poll::Pending;
        }
        let waiting = std::mem::take(&mut upload.waiting);
        if let Some(connection) = connections.get_mut(&upload.connection) {
            connection.waiting -= waiting;
        }
        Poll::Ready(waiting)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let wakers = self.all.lock().end(self.number);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Table {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn may_continue(&self, number: u64) -> bool {
        if self.bytes > MAX_SERVER_BYTES {
            return self.open.first_key_value().is_none_or(|(oldest, _)| *oldest == number);
        }
        let upload = self.open.get(&number);
        let Some(connection) = upload.and_then(|it| self.connections.get(&it.connection)) else {
            return true;
        };
        connection.bytes <= MAX_CONNECTION_BYTES || connection.open.first() == Some(&number)
    }

    /// Removes a request; returns the wakers of those that may continue.
    fn end(&mut self, number: u64) -> Vec<Waker> {
        let was_over = self.bytes > MAX_SERVER_BYTES;
        let Some(ended) = self.open.remove(&number) else { return Vec::new() };
        self.bytes -= ended.bytes;
        let mut left = BTreeSet::new();
        if let Some(connection) = self.connections.get_mut(&ended.connection) {
            connection.bytes -= ended.bytes;
            connection.waiting -= ended.waiting;
            connection.open.remove(&number);
            if connection.open.is_empty() {
                self.connections.remove(&ended.connection);
            } else if !was_over {
                left.clone_from(&connection.open);
            }
        }
        if was_over {
            return self.open.values_mut().filter_map(|it| it.waker.take()).collect();
        }
        left.iter().filter_map(|it| self.open.get_mut(it)?.waker.take()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has_capacity(upload: &Upload) -> bool {
        upload.poll_capacity(Waker::noop()).is_ready()
    }

    /// Receives up to this many bytes, as far as there is capacity.
    fn receive(upload: &Upload, bytes: usize) -> usize {
        let mut received = 0;
        while received < bytes && has_capacity(upload) {
            upload.received(16 * 1024).unwrap();
            received += 16 * 1024;
        }
        received
    }

    #[test]
    fn oldest_request_continues_over_the_connection_limit() {
        let all = Uploads::default();
        let (one, other) = (all.of_connection(), all.of_connection());
        let (first, second) = (one.begin(), one.begin());
        assert!(receive(&second, 8 << 20) <= MAX_CONNECTION_BYTES + 32 * 1024);
        assert_eq!(receive(&first, 4 << 20), 4 << 20, "the oldest");
        assert!(!has_capacity(&second));
        let other_upload = other.begin();
        assert_eq!(receive(&other_upload, 1 << 20), 1 << 20);
        drop(first);
        assert!(has_capacity(&second));
        drop((second, other_upload));
        let table = all.lock();
        assert!(table.open.is_empty() && table.connections.is_empty() && table.bytes == 0);
    }

    #[test]
    fn oldest_request_continues_over_the_server_limit() {
        let all = Uploads::default();
        let uploads: Vec<_> = (0..80).map(|_| all.of_connection().begin()).collect();
        for upload in &uploads {
            receive(upload, MAX_CONNECTION_BYTES);
        }
        assert!(all.lock().bytes <= MAX_SERVER_BYTES + MAX_CONNECTION_BYTES);
        assert_eq!(uploads.iter().filter(|it| has_capacity(it)).count(), 1);
        assert!(has_capacity(&uploads[0]));
        let left = &uploads[1..];
        assert!(!has_capacity(&left[0]));
        drop(all.lock().end(uploads[0].number));
        assert!(has_capacity(&left[0]));
    }

    #[test]
    fn withheld_bytes_of_a_connection_are_limited() {
        let connection = Uploads::default().of_connection();
        let uploads: Vec<_> = (0..128).map(|_| connection.begin()).collect();
        receive(&uploads[0], 2 * MAX_CONNECTION_BYTES);
        assert!(has_capacity(&uploads[0]));
        let waiting = |upload: &Upload| upload.received(64 * 1024);
        let refused = uploads[1..].iter().position(|it| waiting(it).is_err());
        assert_eq!(refused, Some(MAX_WITHHELD_BYTES / (64 * 1024)), "each fills its first window");
        assert_eq!(receive(&uploads[0], 1 << 20), 1 << 20);
    }
}
