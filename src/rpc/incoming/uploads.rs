//! Bytes of requests that have not come whole: how many are held, and which may go on to come.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

/// Bytes of one connection's unfinished requests, beyond which one of them goes on at a time.
const OF_CONNECTION: usize = 1024 * 1024;

/// Bytes of all unfinished requests, beyond which one of all goes on at a time.
const OF_SERVER: usize = 64 * 1024 * 1024;

/// Bytes of one connection that may wait for room. They keep its window closed for as long, of
/// which the request that goes on needs a part.
const WAITING_OF_CONNECTION: usize = 512 * 1024;

/// The unfinished requests of all connections.
#[derive(Clone, Debug, Default)]
pub struct Uploads(Arc<Mutex<Table>>);

/// The unfinished requests of one connection.
#[derive(Clone, Debug)]
pub struct ConnectionUploads {
    connection: u64,
    all: Uploads,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    bytes: usize,
    /// By age, the oldest first.
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
    /// By age, the oldest first.
    open: BTreeSet<u64>,
}

/// More of a connection's bytes wait for room than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// One unfinished request, until it is dropped.
#[derive(Debug)]
pub(super) struct Upload {
    number: u64,
    all: Uploads,
}

impl Uploads {
    /// Those of a new connection.
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
    /// So many more bytes have come, and wait for room.
    ///
    /// # Errors
    ///
    /// Too many of the connection do.
    pub(super) fn came(&self, bytes: usize) -> Result<(), TooMany> {
        let mut table = self.all.lock();
        let may_go_on = table.may_go_on(self.number);
        table.bytes += bytes;
        let Table { open, connections, .. } = &mut *table;
        let Some(upload) = open.get_mut(&self.number) else { return Ok(()) };
        upload.bytes += bytes;
        upload.waiting += bytes;
        let Some(connection) = connections.get_mut(&upload.connection) else { return Ok(()) };
        connection.bytes += bytes;
        connection.waiting += bytes;
        if may_go_on || connection.waiting <= WAITING_OF_CONNECTION { Ok(()) } else { Err(TooMany) }
    }

    /// Ready when there is room for more: for as many bytes as were waiting for it.
    pub(super) fn poll_room(&self, waker: &Waker) -> Poll<usize> {
        let mut table = self.all.lock();
        let may_go_on = table.may_go_on(self.number);
        let Table { open, connections, .. } = &mut *table;
        let Some(upload) = open.get_mut(&self.number) else { return Poll::Ready(0) };
        if !may_go_on {
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

    fn may_go_on(&self, number: u64) -> bool {
        if self.bytes > OF_SERVER {
            return self.open.first_key_value().is_none_or(|(oldest, _)| *oldest == number);
        }
        let upload = self.open.get(&number);
        let Some(connection) = upload.and_then(|it| self.connections.get(&it.connection)) else {
            return true;
        };
        connection.bytes <= OF_CONNECTION || connection.open.first() == Some(&number)
    }

    /// Removes it. Who may go on for that is to be woken.
    fn end(&mut self, number: u64) -> Vec<Waker> {
        let was_over = self.bytes > OF_SERVER;
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

    fn has_room(upload: &Upload) -> bool {
        upload.poll_room(Waker::noop()).is_ready()
    }

    /// So much comes, as far as there is room.
    fn come(upload: &Upload, bytes: usize) -> usize {
        let mut came = 0;
        while came < bytes && has_room(upload) {
            upload.came(16 * 1024).unwrap();
            came += 16 * 1024;
        }
        came
    }

    #[test]
    fn over_its_budget_one_request_of_a_connection_goes_on_at_a_time() {
        let all = Uploads::default();
        let (one, other) = (all.of_connection(), all.of_connection());
        let (first, second) = (one.begin(), one.begin());
        assert!(come(&second, 8 << 20) <= OF_CONNECTION + 32 * 1024);
        assert_eq!(come(&first, 4 << 20), 4 << 20, "the oldest");
        assert!(!has_room(&second));
        let elsewhere = other.begin();
        assert_eq!(come(&elsewhere, 1 << 20), 1 << 20);
        drop(first);
        assert!(has_room(&second));
        drop((second, elsewhere));
        let table = all.lock();
        assert!(table.open.is_empty() && table.connections.is_empty() && table.bytes == 0);
    }

    #[test]
    fn over_the_servers_budget_one_of_all_goes_on_and_the_next_after_it() {
        let all = Uploads::default();
        let uploads: Vec<_> = (0..80).map(|_| all.of_connection().begin()).collect();
        for upload in &uploads {
            come(upload, OF_CONNECTION);
        }
        assert!(all.lock().bytes <= OF_SERVER + OF_CONNECTION);
        assert_eq!(uploads.iter().filter(|it| has_room(it)).count(), 1);
        assert!(has_room(&uploads[0]));
        let left = &uploads[1..];
        assert!(!has_room(&left[0]));
        drop(all.lock().end(uploads[0].number));
        assert!(has_room(&left[0]));
    }

    #[test]
    fn so_much_waits_for_room_and_no_more() {
        let connection = Uploads::default().of_connection();
        let uploads: Vec<_> = (0..128).map(|_| connection.begin()).collect();
        come(&uploads[0], 2 * OF_CONNECTION);
        assert!(has_room(&uploads[0]));
        let waiting = |upload: &Upload| upload.came(64 * 1024);
        let refused = uploads[1..].iter().position(|it| waiting(it).is_err());
        assert_eq!(refused, Some(WAITING_OF_CONNECTION / (64 * 1024)), "each has its first window");
        assert_eq!(come(&uploads[0], 1 << 20), 1 << 20);
    }
}
