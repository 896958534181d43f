//! Connection slots: how many connections each caller may have after the handshake.

use std::{
    collections::HashMap,
    hash::Hash,
    iter::once,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{limits::Limits, unread::Total};
use crate::{
    auth::{
        callers::{CallerMatch, Callers},
        name::CallerName,
        peer::Peer,
        policy::{EntryName, Mode},
        refusal,
    },
    listen::remote::Remote,
};

/// The maximum number of connections per network or Unix socket user whose caller is unknown, if
/// callers need an entry.
const MAX_UNKNOWN_PER_NETWORK: usize = 64;

/// The slots for connections.
#[derive(Clone)]
pub(super) struct Slots {
    callers: Arc<Callers>,
    usage: Arc<Mutex<Usage>>,
}

struct Usage {
    /// The maximum number of all connections.
    max: usize,
    /// The maximum per caller name, unless its entry has a limit.
    max_per_name: usize,
    /// The maximum per entry or name, whatever its limit, so that slots remain for others.
    max_share: usize,
    all: usize,
    entries: HashMap<EntryName, HolderUsage>,
    names: HashMap<CallerName, HolderUsage>,
    unknown: usize,
    unknown_by_network: HashMap<Remote, HolderUsage>,
}

/// The connections of one entry, name or network of unknown callers.
#[derive(Default)]
struct HolderUsage {
    connections: usize,
    unread: Total,
}

/// A connection slot, released on drop.
pub(super) struct Slot {
    holder: Holder,
    slots: Slots,
    /// The unread bytes of all connections of the caller.
    unread: Total,
}

/// The holder of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Holder {
    /// A caller with an entry.
    Caller { entry: EntryName, name: CallerName, limit: Limit },
    /// A caller with a name of its own, where no entry is needed.
    Named(CallerName),
    /// Any client of the listener.
    Anybody,
    /// A client without an entry, where callers need one.
    Unknown(Remote),
}

/// The connection limit of a caller with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// This many for the whole entry.
    Entry(usize),
    /// The configured limit for each name.
    Name,
    /// Only the maximum share of an entry: one name stands for all clients of the listener.
    MaxShare,
}

/// Why a slot is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// All slots are in use.
    Full,
    /// The caller's name or entry has reached its limit.
    Caller,
    /// Clients of unknown callers have reached their limit.
    Unknown,
}

impl Denied {
    /// The name in the log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "connections",
            Self::Caller => "connections_per_caller",
            Self::Unknown => "connections_of_unknown_callers",
        }
    }
}

impl Slots {
    pub(super) fn new(limits: &Limits, callers: Arc<Callers>) -> Self {
        let max_share = (limits.connections * 3 / 4).max(1);
        let usage = Usage {
            max: limits.connections,
            max_per_name: limits.connections_per_caller.min(max_share),
            max_share,
            all: 0,
            entries: HashMap::new(),
            names: HashMap::new(),
            unknown: 0,
            unknown_by_network: HashMap::new(),
        };
        Self { callers, usage: Arc::new(Mutex::new(usage)) }
    }

    /// Takes a slot for a connection with `peer`.
    pub(super) fn take(&self, peer: &Peer) -> Result<Slot, Denied> {
        let holder = self.holder(peer);
        let mut usage = self.lock();
        if usage.all >= usage.max {
            return Err(Denied::Full);
        }
        let unread = usage.take(&holder)?;
        usage.all += 1;
        drop(usage);
        Ok(Slot { holder, slots: self.clone(), unread })
    }

    /// The holder for `peer`, by the current entries.
    fn holder(&self, peer: &Peer) -> Holder {
        let shared =
            |name: &CallerName| matches!(name, CallerName::Loopback | CallerName::Plaintext);
        let named = match self.callers.find(peer.names()) {
            CallerMatch::Caller(caller, _) => {
                let entry = &caller.entry;
                // Peers choose the order of a certificate's names and can add names without an
                // entry. Neither must give them more slots.
                let name = first_sorted(peer.names().filter(|name| {
                    matches!(self.callers.find(once(*name)), CallerMatch::Caller(..))
                }));
                let Some(name) = name else { return Holder::Unknown(peer.from.network()) };
                let limit = match entry.limits.connections {
                    Some(max) => Limit::Entry(max),
                    None if shared(&name) => Limit::MaxShare,
                    None => Limit::Name,
                };
                return Holder::Caller { entry: entry.name.clone(), name, limit };
            }
            CallerMatch::Anybody => peer.names().find(|name| !shared(name)),
            // Observe mode serves its calls.
            CallerMatch::Nobody(refusal::Denied::Unknown)
                if self.callers.mode() == Mode::Observe =>
            {
                peer.names().next()
            }
            CallerMatch::Nobody(_) => return Holder::Unknown(peer.from.network()),
        };
        named.and_then(|_| first_sorted(peer.names())).map_or(Holder::Anybody, Holder::Named)
    }

    fn lock(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The alphabetically first name.
fn first_sorted<'n>(names: impl Iterator<Item = &'n CallerName>) -> Option<CallerName> {
    names.min_by_key(ToString::to_string).cloned()
}

impl Usage {
    /// Counts a connection of a holder, within its limits.
    fn take(&mut self, holder: &Holder) -> Result<Total, Denied> {
        match holder {
            Holder::Anybody => Ok(Total::default()),
            Holder::Named(name) => self.take_for_name(name, self.max_per_name),
            Holder::Caller { entry, name, limit } => {
                let (max_in_entry, max_of_name) = match limit {
                    Limit::Entry(max) => (self.max_share.min(*max), usize::MAX),
                    Limit::Name => (self.max_share, self.max_per_name),
                    Limit::MaxShare => (self.max_share, usize::MAX),
                };
                let taken = self.entries.get(entry).map_or(0, |it| it.connections);
                if taken >= max_in_entry {
                    return Err(Denied::Caller);
                }
                let unread = self.take_for_name(name, max_of_name)?;
                one_more(&mut self.entries, entry.clone());
                Ok(unread)
            }
            Holder::Unknown(network) => {
                let taken = self.unknown_by_network.get(network).map_or(0, |it| it.connections);
                if self.unknown >= self.max / 2 || taken >= MAX_UNKNOWN_PER_NETWORK {
                    return Err(Denied::Unknown);
                }
                self.unknown += 1;
                Ok(one_more(&mut self.unknown_by_network, *network))
            }
        }
    }

    fn take_for_name(&mut self, name: &CallerName, max: usize) -> Result<Total, Denied> {
        let taken = self.names.get(name).map_or(0, |it| it.connections);
        if taken >= max {
            return Err(Denied::Caller);
        }
        Ok(one_more(&mut self.names, name.clone()))
    }

    fn free(&mut self, holder: &Holder) {
        match holder {
            Holder::Anybody => {}
            Holder::Named(name) => self.free_name(name),
            Holder::Caller { entry, name, .. } => {
                remove_one(&mut self.entries, entry);
                self.free_name(name);
            }
            Holder::Unknown(network) => {
                self.unknown -= 1;
                remove_one(&mut self.unknown_by_network, network);
            }
        }
    }

    fn free_name(&mut self, name: &CallerName) {
        remove_one(&mut self.names, name);
    }
}

/// Counts one more connection. Returns the total of the share's unread bytes.
fn one_more<K: Hash + Eq>(usages: &mut HashMap<K, HolderUsage>, key: K) -> Total {
    let share = usages.entry(key).or_default();
    share.connections += 1;
    share.unread.clone()
}

fn remove_one<K: Hash + Eq>(usages: &mut HashMap<K, HolderUsage>, key: &K) {
    if let Some(share) = usages.get_mut(key) {
        share.connections -= 1;
        if share.connections == 0 {
            usages.remove(key);
        }
    }
}

impl Slot {
    /// Whether the holder has no entry, where callers need one.
    pub(super) const fn is_unknown(&self) -> bool {
        matches!(self.holder, Holder::Unknown(_))
    }

    /// Looks up an unknown holder again, since the entries may have changed. Returns whether it is
    /// still unknown. A caller that is now known needs a slot as such.
    pub(super) fn is_still_unknown(&mut self, peer: &Peer) -> bool {
        let holder = self.slots.holder(peer);
        if matches!(holder, Holder::Unknown(_)) {
            return true;
        }
        let mut usage = self.slots.lock();
        let Ok(unread) = usage.take(&holder) else { return true };
        usage.free(&self.holder);
        drop(usage);
        (self.holder, self.unread) = (holder, unread);
        false
    }

    /// The unread bytes of all connections of the caller.
    pub(super) fn unread(&self) -> Total {
        self.unread.clone()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut usage = self.slots.lock();
        usage.all -= 1;
        usage.free(&self.holder);
    }
}

#[cfg(test)]
mod tests;
