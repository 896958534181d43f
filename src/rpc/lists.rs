//! Limits the bytes of identity lists. A bulk call keeps its list from its first check until its
//! last chunk is minted, which happens when its client reads it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of the lists of one entry; above it the entry's callers cannot start another list.
const MAX_ENTRY_BYTES: usize = 16 * 1024 * 1024;

/// Bytes of all lists; above it no caller can start another list.
const MAX_SERVER_BYTES: usize = 64 * 1024 * 1024;

/// Memory of an identity in addition to its text.
const OVERHEAD: usize = 40;

/// The lists in memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Lists(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    by_entry: HashMap<String, usize>,
}

/// One list, counted until it is dropped.
#[derive(Debug)]
pub(super) struct List {
    entry: String,
    bytes: usize,
    all: Lists,
}

impl Lists {
    /// Counts a list of a caller of this entry, if the limits allow it. A single list is always
    /// allowed.
    pub(super) fn hold(&self, entry: &str, identities: &[String]) -> Option<List> {
        let bytes = identities.iter().map(|it| it.len() + OVERHEAD).sum();
        let mut held = self.lock();
        let of_entry = held.by_entry.get(entry).copied().unwrap_or(0);
        if of_entry > MAX_ENTRY_BYTES || held.bytes > MAX_SERVER_BYTES {
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
    fn lists_are_limited_per_entry_and_server() {
        let lists = Lists::default();
        let mebibyte = vec!["x".repeat(1_024 - OVERHEAD); 1_024];
        let of = |entry: &str| {
            let held: Vec<_> = (0..100).map_while(|_| lists.hold(entry, &mebibyte)).collect();
            held
        };
        let first = of("first");
        assert_eq!(first.len(), 17);
        let others: Vec<_> = (0..10).map(|number| of(&number.to_string())).collect();
        let count = others.iter().map(Vec::len).sum::<usize>();
        assert_eq!(first.len() + count, 65, "the rest of the server's limit");
        drop(first);
        assert!(lists.hold("first", &mebibyte).is_some());
        drop(others);
        let held = lists.lock();
        assert!(held.bytes == 0 && held.by_entry.is_empty());
    }

    #[test]
    fn single_list_of_any_length_is_allowed() {
        let lists = Lists::default();
        let list = vec!["x".repeat(MAX_ENTRY_BYTES); 2];
        let held = lists.hold("an entry", &list);
        assert!(held.is_some() && lists.hold("an entry", &list[..1]).is_none());
        assert!(lists.hold("another", &list[..1]).is_some());
    }
}
