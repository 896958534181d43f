//! Who may hold how many connections, once their handshake is done.

use std::{
    collections::HashMap,
    hash::Hash,
    iter::once,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{limits::Limits, unread::Sum};
use crate::{
    auth::{
        callers::{Callers, Standing},
        name::CallerName,
        peer::Peer,
        policy::{EntryName, Mode},
        refusal,
    },
    listen::remote::Remote,
};

/// Connections of one network, or of one user of a Unix socket, at a time that are of no known
/// caller where callers are known.
const STRANGERS_OF_NETWORK: usize = 64;

/// The places for connections.
#[derive(Clone)]
pub(super) struct Places {
    callers: Arc<Callers>,
    taken: Arc<Mutex<Taken>>,
}

struct Taken {
    /// Of everybody.
    most: usize,
    /// Of one caller's name that has no limit of its entry's.
    most_of_name: usize,
    /// Of one entry or name, whatever its limit: there is room beside it.
    share: usize,
    all: usize,
    of_entries: HashMap<EntryName, Share>,
    of_names: HashMap<CallerName, Share>,
    strangers: usize,
    strangers_by_network: HashMap<Remote, Share>,
}

/// What one entry, one name, or one network of strangers has.
#[derive(Default)]
struct Share {
    connections: usize,
    unread: Sum,
}

/// A place, free again with its end.
pub(super) struct Place {
    holder: Holder,
    places: Places,
    /// Unread bytes of all connections of its caller.
    unread: Sum,
}

/// Who holds a place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Holder {
    /// A caller of an entry.
    Caller { entry: EntryName, name: CallerName, limit: Limit },
    /// Somebody with a name of their own, where a name needs no entry.
    Named(CallerName),
    /// Whoever may connect to this listener.
    Anybody,
    /// Somebody in no entry, where callers must be in one.
    Stranger(Remote),
}

/// How many connections a caller of an entry may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// That many in the whole entry.
    OfEntry(usize),
    /// As many as the limits say of each name.
    OfName,
    /// None but the entry's share: one name stands for everybody on the listener.
    Share,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// All are taken.
    Full,
    /// The caller has as many as its name or its entry may have.
    OfCaller,
    /// Strangers have as many as they may.
    Strangers,
}

impl Denied {
    /// Its name in the log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "connections",
            Self::OfCaller => "connections_per_caller",
            Self::Strangers => "connections_of_strangers",
        }
    }
}

impl Places {
    pub(super) fn new(limits: &Limits, callers: Arc<Callers>) -> Self {
        let share = (limits.connections * 3 / 4).max(1);
        let taken = Taken {
            most: limits.connections,
            most_of_name: limits.connections_per_caller.min(share),
            share,
            all: 0,
            of_entries: HashMap::new(),
            of_names: HashMap::new(),
            strangers: 0,
            strangers_by_network: HashMap::new(),
        };
        Self { callers, taken: Arc::new(Mutex::new(taken)) }
    }

    /// A place for a connection with `peer`.
    pub(super) fn take(&self, peer: &Peer) -> Result<Place, Denied> {
        let holder = self.holder(peer);
        let mut taken = self.lock();
        if taken.all >= taken.most {
            return Err(Denied::Full);
        }
        let unread = taken.take(&holder)?;
        taken.all += 1;
        drop(taken);
        Ok(Place { holder, places: self.clone(), unread })
    }

    /// Who `peer` is, by the entries of this moment.
    fn holder(&self, peer: &Peer) -> Holder {
        let shared =
            |name: &CallerName| matches!(name, CallerName::Loopback | CallerName::Plaintext);
        let named = match self.callers.standing(peer.names()) {
            Standing::Caller(caller, _) => {
                let entry = &caller.entry;
                // The order of a certificate's names is its requester's choice, and so are names
                // that are in no entry.
                let name = least(peer.names().filter(|name| {
                    matches!(self.callers.standing(once(*name)), Standing::Caller(..))
                }));
                let Some(name) = name else { return Holder::Stranger(peer.from.network()) };
                let limit = match entry.limits.connections {
                    Some(most) => Limit::OfEntry(most),
                    None if shared(&name) => Limit::Share,
                    None => Limit::OfName,
                };
                return Holder::Caller { entry: entry.name.clone(), name, limit };
            }
            Standing::Anybody => peer.names().find(|name| !shared(name)),
            // Its calls are served.
            Standing::Nobody(refusal::Denied::Unknown) if self.callers.mode() == Mode::Observe => {
                peer.names().next()
            }
            Standing::Nobody(_) => return Holder::Stranger(peer.from.network()),
        };
        named.and_then(|_| least(peer.names())).map_or(Holder::Anybody, Holder::Named)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first by their texts.
fn least<'n>(names: impl Iterator<Item = &'n CallerName>) -> Option<CallerName> {
    names.min_by_key(ToString::to_string).cloned()
}

impl Taken {
    /// A place of those that holders like this may have.
    fn take(&mut self, holder: &Holder) -> Result<Sum, Denied> {
        match holder {
            Holder::Anybody => Ok(Sum::default()),
            Holder::Named(name) => self.take_of_name(name, self.most_of_name),
            Holder::Caller { entry, name, limit } => {
                let (of_entry, of_name) = match limit {
                    Limit::OfEntry(most) => (self.share.min(*most), usize::MAX),
                    Limit::OfName => (self.share, self.most_of_name),
                    Limit::Share => (self.share, usize::MAX),
                };
                let taken = self.of_entries.get(entry).map_or(0, |it| it.connections);
                if taken >= of_entry {
                    return Err(Denied::OfCaller);
                }
                let unread = self.take_of_name(name, of_name)?;
                one_more(&mut self.of_entries, entry.clone());
                Ok(unread)
            }
            Holder::Stranger(network) => {
                let taken = self.strangers_by_network.get(network).map_or(0, |it| it.connections);
                if self.strangers >= self.most / 2 || taken >= STRANGERS_OF_NETWORK {
                    return Err(Denied::Strangers);
                }
                self.strangers += 1;
                Ok(one_more(&mut self.strangers_by_network, *network))
            }
        }
    }

    fn take_of_name(&mut self, name: &CallerName, most: usize) -> Result<Sum, Denied> {
        let taken = self.of_names.get(name).map_or(0, |it| it.connections);
        if taken >= most {
            return Err(Denied::OfCaller);
        }
        Ok(one_more(&mut self.of_names, name.clone()))
    }

    fn free(&mut self, holder: &Holder) {
        match holder {
            Holder::Anybody => {}
            Holder::Named(name) => self.free_of_name(name),
            Holder::Caller { entry, name, .. } => {
                leave(&mut self.of_entries, entry);
                self.free_of_name(name);
            }
            Holder::Stranger(network) => {
                self.strangers -= 1;
                leave(&mut self.strangers_by_network, network);
            }
        }
    }

    fn free_of_name(&mut self, name: &CallerName) {
        leave(&mut self.of_names, name);
    }
}

/// One more connection of a share, whose unread bytes count together.
fn one_more<K: Hash + Eq>(shares: &mut HashMap<K, Share>, key: K) -> Sum {
    let share = shares.entry(key).or_default();
    share.connections += 1;
    share.unread.clone()
}

fn leave<K: Hash + Eq>(shares: &mut HashMap<K, Share>, key: &K) {
    if let Some(share) = shares.get_mut(key) {
        share.connections -= 1;
        if share.connections == 0 {
            shares.remove(key);
        }
    }
}

impl Place {
    /// Whether its holder is in no entry where callers must be in one.
    pub(super) const fn is_strangers(&self) -> bool {
        matches!(self.holder, Holder::Stranger(_))
    }

    /// Looks a stranger up again, since the entries may have changed: whether it is one still. A
    /// caller that it has become needs a place as such.
    pub(super) fn is_still_strangers(&mut self, peer: &Peer) -> bool {
        let holder = self.places.holder(peer);
        if matches!(holder, Holder::Stranger(_)) {
            return true;
        }
        let mut taken = self.places.lock();
        let Ok(unread) = taken.take(&holder) else { return true };
        taken.free(&self.holder);
        drop(taken);
        (self.holder, self.unread) = (holder, unread);
        false
    }

    /// Unread bytes of all connections of its caller.
    pub(super) fn unread(&self) -> Sum {
        self.unread.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        taken.free(&self.holder);
    }
}

#[cfg(test)]
mod tests;
