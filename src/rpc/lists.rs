//! Bytes of lists of identities: a bulk holds its list from its first check until its last chunk
//! is made, which is when its reader wants it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of the lists of one entry, beyond which its callers begin no other.
const OF_ENTRY: usize = 16 * 1024 * 1024;

/// Bytes of all lists, beyond which nobody begins another.
const OF_SERVER: usize = 64 * 1024 * 1024;

/// What an identity takes beside its text.
const BESIDE: usize = 40;

/// The lists that are held.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    by_entry: HashMap<String, usize>,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct List {
    entry: String,
    bytes: usize,
    all: Lists,
}

impl Lists {
    /// Counts a list of a caller of this entry, where there is room for it. A single one always
    /// has room.
    pub(super) fn hold(&self, entry: &str, identities: &[String]) -> Option<List> {
        let bytes = identities.iter().map(|it| it.len() + BESIDE).sum();
        let mut held = self.lock();
        let of_entry = held.by_entry.get(entry).copied().unwrap_or(0);
        if of_entry > OF_ENTRY || held.bytes > OF_SERVER {
            return None;
        }
        held.bytes += bytes;
        held.by_entry.insert(entry.to_owned(), of_entry + bytes);
        drop(held);
        Some(List { entry: entry.to_owned(), bytes, all: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for List {
    fn drop(&mut self) {
        let mut held = self.all.lock();
        held.bytes -= self.bytes;
        if let Some(of_entry) = held.by_entry.get_mut(&self.entry) {
            *of_entry -= self.bytes;
            if *of_entry == 0 {
                held.by_entry.remove(&self.entry);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_held_within_what_an_entry_and_the_server_have() {
        let lists = Lists::default();
        let mebibyte = vec!["x".repeat(1_024 - BESIDE); 1_024];
        let of = |entry: &str| {
            let held: Vec<_> = (0..100).map_while(|_| lists.hold(entry, &mebibyte)).collect();
            held
        };
        let first = of("first");
        assert_eq!(first.len(), 17);
        let others: Vec<_> = (0..10).map(|number| of(&number.to_string())).collect();
        let count = others.iter().map(Vec::len).sum::<usize>();
        assert_eq!(first.len() + count, 65, "the rest of the server's");
        drop(first);
        assert!(lists.hold("first", &mebibyte).is_some());
        drop(others);
        let held = lists.lock();
        assert!(held.bytes == 0 && held.by_entry.is_empty());
    }

    #[test]
    fn a_single_list_has_room_however_long_it_is() {
        let lists = Lists::default();
        let list = vec!["x".repeat(OF_ENTRY); 2];
        let held = lists.hold("an entry", &list);
        assert!(held.is_some() && lists.hold("an entry", &list[..1]).is_none());
        assert!(lists.hold("another", &list[..1]).is_some());
    }
}
