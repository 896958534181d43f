//! Who may hold how many connections, once their handshake is done.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{limits::Limits, unread::Sum};
use crate::auth::{name::CallerName, peer::Peer};

/// Connections of one address at a time that have no name where callers must have one.
const STRANGERS_OF_ADDRESS: usize = 64;

const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// Whether callers must have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Anybody may call.
    Anybody,
    /// Who has no name may call nothing.
    Named,
}

/// The places for connections.
#[derive(Clone)]
pub(super) struct Places(Arc<Mutex<Inner>>);

struct Inner {
    admission: Admission,
    /// Of everybody.
    most: usize,
    /// Of one caller that has a certificate's name.
    most_of_caller: usize,
    taken: usize,
    of_callers: HashMap<CallerName, OfCaller>,
    strangers: usize,
    strangers_by_address: HashMap<IpAddr, usize>,
    denials: Denials,
}

/// Denials that have not been logged.
#[derive(Default)]
struct Denials {
    count: u64,
    logged: Option<Instant>,
}

#[derive(Default)]
struct OfCaller {
    connections: usize,
    unread: Sum,
}

/// A place, free again with its end.
pub(super) struct Place {
    holder: Holder,
    places: Places,
    /// Unread bytes of all connections of its caller.
    pub(super) unread: Sum,
}

/// Who holds a place.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Holder {
    /// A caller with a certificate's name.
    Caller(CallerName),
    /// Whoever may connect to this listener.
    Anybody,
    /// Somebody without a name, where callers must have one.
    Stranger(IpAddr),
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// All are taken.
    Full,
    /// The caller has as many as one may.
    OfCaller,
    /// Connections without a name have as many as they may.
    Strangers,
}

impl Denied {
    /// Its name in the log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "connections",
            Self::OfCaller => "connections_per_caller",
            Self::Strangers => "connections_without_a_name",
        }
    }
}

impl Places {
    pub(super) fn new(limits: &Limits, admission: Admission) -> Self {
        // However much one caller is allowed, there is room beside it.
        let share = (limits.connections * 3 / 4).max(1);
        Self(Arc::new(Mutex::new(Inner {
            admission,
            most: limits.connections,
            most_of_caller: limits.connections_per_caller.min(share),
            taken: 0,
            of_callers: HashMap::new(),
            strangers: 0,
            strangers_by_address: HashMap::new(),
            denials: Denials::default(),
        })))
    }

    /// A place for a connection with `peer`.
    pub(super) fn take(&self, peer: &Peer) -> Result<Place, Denied> {
        let mut inner = self.lock();
        let holder = inner.holder(peer);
        match inner.take(&holder) {
            Ok(unread) => {
                drop(inner);
                Ok(Place { holder, places: self.clone(), unread })
            }
            Err(denied) => {
                inner.denials.note(denied);
                Err(denied)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn holder(&self, peer: &Peer) -> Holder {
        match &peer.name {
            Some(CallerName::Loopback | CallerName::Plaintext) => Holder::Anybody,
            Some(name) => Holder::Caller(name.clone()),
            None if self.admission == Admission::Named => Holder::Stranger(peer.address),
            None => Holder::Anybody,
        }
    }

    fn take(&mut self, holder: &Holder) -> Result<Sum, Denied> {
        if self.taken >= self.most {
            return Err(Denied::Full);
        }
        let unread = self.take_of(holder)?;
        self.taken += 1;
        Ok(unread)
    }

    /// A place of those that holders like this may have.
    fn take_of(&mut self, holder: &Holder) -> Result<Sum, Denied> {
        match holder {
            Holder::Anybody => Ok(Sum::default()),
            Holder::Caller(name) => {
                let of_caller = self.of_callers.entry(name.clone()).or_default();
                if of_caller.connections >= self.most_of_caller {
                    return Err(Denied::OfCaller);
                }
                of_caller.connections += 1;
                Ok(of_caller.unread.clone())
            }
            Holder::Stranger(address) => {
                let of_address = self.strangers_by_address.get(address).copied().unwrap_or(0);
                if self.strangers >= self.most / 2 || of_address >= STRANGERS_OF_ADDRESS {
                    return Err(Denied::Strangers);
                }
                self.strangers += 1;
                self.strangers_by_address.insert(*address, of_address + 1);
                Ok(Sum::default())
            }
        }
    }

    fn free(&mut self, holder: &Holder) {
        self.taken -= 1;
        match holder {
            Holder::Anybody => {}
            Holder::Caller(name) => {
                if let Some(of_caller) = self.of_callers.get_mut(name) {
                    of_caller.connections -= 1;
                    if of_caller.connections == 0 {
                        self.of_callers.remove(name);
                    }
                }
            }
            Holder::Stranger(address) => {
                self.strangers -= 1;
                if let Some(of_address) = self.strangers_by_address.get_mut(address) {
                    *of_address -= 1;
                    if *of_address == 0 {
                        self.strangers_by_address.remove(address);
                    }
                }
            }
        }
    }
}

impl Denials {
    /// Logs it, but not more often than once a minute.
    fn note(&mut self, denied: Denied) {
        self.count += 1;
        if self.logged.is_none_or(|at| at.elapsed() >= LOGGED_EVERY) {
            let (limit, refused) = (denied.as_str(), self.count);
            tracing::warn!(limit, refused, "connections are refused: as many are open as may be");
            *self = Self { count: 0, logged: Some(Instant::now()) };
        }
    }
}

impl Place {
    /// Whether its holder has no name where callers must have one.
    pub(super) fn is_strangers(&self) -> bool {
        matches!(self.holder, Holder::Stranger(_))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().free(&self.holder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::name::DnsName;

    fn peer(name: Option<&str>, last: u8) -> Peer {
        let name = name.map(|name| CallerName::Dns(DnsName::parse(name).unwrap()));
        Peer { name, also: Vec::new(), address: [192, 0, 2, last].into() }
    }

    fn places(connections: usize, connections_per_caller: usize) -> Places {
        let limits = Limits { connections, connections_per_caller, ..Limits::default() };
        Places::new(&limits, Admission::Named)
    }

    #[test]
    fn a_caller_has_its_places_and_leaves_a_quarter_to_others() {
        for (of_caller, most) in [(2, 2), (100, 6)] {
            let places = places(8, of_caller);
            let take = |name| places.take(&peer(Some(name), 1));
            let mut held: Vec<_> = (0..most).map(|_| take("a.example").ok().unwrap()).collect();
            assert_eq!(take("a.example").err(), Some(Denied::OfCaller));
            held.push(take("b.example").ok().unwrap());
            held.remove(0);
            held.push(take("a.example").ok().unwrap());
            drop(held);
            assert!(places.lock().of_callers.is_empty());
        }
    }

    #[test]
    fn strangers_have_half_of_the_places_and_an_address_has_64() {
        let places = places(200, 200);
        let take = |last| places.take(&peer(None, last));
        let mut held: Vec<_> = (0..64).map(|_| take(1).ok().unwrap()).collect();
        assert!(held[0].is_strangers());
        assert_eq!(take(1).err(), Some(Denied::Strangers));
        held.extend((0..36).map(|_| take(2).ok().unwrap()));
        assert_eq!(take(3).err(), Some(Denied::Strangers), "half are taken");
        let named = places.take(&peer(Some("a.example"), 1)).ok().unwrap();
        assert!(!named.is_strangers());
        drop((held, named));
        let inner = places.lock();
        assert_eq!((inner.taken, inner.strangers), (0, 0));
        assert!(inner.strangers_by_address.is_empty());
    }

    #[test]
    fn anybody_may_hold_all_places_where_nobody_needs_a_name() {
        let limits = Limits { connections: 300, connections_per_caller: 1, ..Limits::default() };
        let places = Places::new(&limits, Admission::Anybody);
        let loopback = Peer { name: Some(CallerName::Loopback), ..peer(None, 1) };
        let mut held: Vec<_> =
            (0..299).map(|_| places.take(&peer(None, 1)).ok().unwrap()).collect();
        held.push(places.take(&loopback).ok().unwrap());
        assert_eq!(places.take(&loopback).err(), Some(Denied::Full));
    }
}
