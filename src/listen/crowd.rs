//! Connections that nobody has vouched for: anybody may open as many as they like, so that each
//! address (of IPv6, each network) has only so many places, and older ones give way to newer.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use super::network;

/// The places. There is always one more: an older connection gives way for it.
#[derive(Clone, Debug)]
pub struct Crowd(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    places: usize,
    of_address: usize,
    next: u64,
    /// By age, the oldest first.
    open: BTreeMap<u64, (IpAddr, CancellationToken)>,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place, free again with its end.
#[derive(Debug)]
pub struct Entry {
    id: u64,
    gives_way: CancellationToken,
    crowd: Crowd,
}

impl Crowd {
    /// That many places, at least one, and for each address no more than `of_address`.
    #[must_use]
    pub fn new(places: usize, of_address: usize) -> Self {
        let (open, by_address) = (BTreeMap::new(), HashMap::new());
        let places = places.max(1);
        Self(Arc::new(Mutex::new(Inner { places, of_address, next: 0, open, by_address })))
    }

    /// A place for a connection from `address`. Where the address has as many as it may, its
    /// oldest gives way; where all places are taken, the oldest of the address that has most, of
    /// several the one with the oldest.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> Entry {
        let (address, gives_way) = (network(address), CancellationToken::new());
        let mut inner = self.lock();
        if inner.by_address.get(&address).is_some_and(|open| *open >= inner.of_address) {
            inner.give_way(address);
        } else if inner.open.len() >= inner.places
            && let Some(address) = inner.most_crowded()
        {
            inner.give_way(address);
        }
        let id = inner.next;
        inner.next += 1;
        inner.open.insert(id, (address, gives_way.clone()));
        *inner.by_address.entry(address).or_default() += 1;
        drop(inner);
        Entry { id, gives_way, crowd: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The address that has most, of several the one with the oldest.
    fn most_crowded(&self) -> Option<IpAddr> {
        let most = self.by_address.values().max();
        let mut by_age = self.open.values().map(|(address, _)| *address);
        by_age.find(|address| self.by_address.get(address) == most)
    }

    /// Takes its place from the oldest connection of `address`.
    fn give_way(&mut self, address: IpAddr) {
        let oldest = self.open.iter().find(|(_, (of, _))| *of == address);
        if let Some(id) = oldest.map(|(id, _)| *id)
            && let Some(gives_way) = self.leave(id)
        {
            gives_way.cancel();
        }
    }

    fn leave(&mut self, id: u64) -> Option<CancellationToken> {
        let (address, gives_way) = self.open.remove(&id)?;
        if let Some(open) = self.by_address.get_mut(&address) {
            *open -= 1;
            if *open == 0 {
                self.by_address.remove(&address);
            }
        }
        Some(gives_way)
    }
}

impl Entry {
    /// Waits until the connection has to give way.
    pub async fn gives_way(&self) {
        self.gives_way.cancelled().await;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.crowd.lock().leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OF_ADDRESS: usize = 32;

    fn address(number: u8) -> IpAddr {
        [127, 0, 0, number].into()
    }

    fn gave_way(entry: &Entry) -> bool {
        entry.gives_way.is_cancelled()
    }

    #[test]
    fn an_address_has_32_and_its_oldest_gives_way() {
        let crowd = Crowd::new(256, OF_ADDRESS);
        let other = crowd.enter(address(2));
        let mut open: Vec<_> = (0..OF_ADDRESS).map(|_| crowd.enter(address(1))).collect();
        assert!(!open.iter().any(gave_way));
        open.push(crowd.enter(address(1)));
        open.push(crowd.enter(address(1)));
        let gave: Vec<_> = open.iter().map(gave_way).collect();
        assert!(gave[0] && gave[1] && !gave[2..].contains(&true));
        assert!(!gave_way(&other));
        drop(open.pop());
        drop(crowd.enter(address(1)));
        assert!(!open[2..].iter().any(gave_way), "what ended has made room");
    }

    #[test]
    fn the_addresses_of_an_ipv6_network_are_one() {
        let crowd = Crowd::new(256, 2);
        let from = |text: &str| crowd.enter(text.parse().unwrap());
        let open = [from("2001:db8::1"), from("2001:db8::2"), from("2001:db8::3")];
        assert!(gave_way(&open[0]) && !gave_way(&open[1]) && !gave_way(&open[2]));
    }

    #[test]
    fn where_all_places_are_taken_the_address_that_has_most_gives_way() {
        let crowd = Crowd::new(8, OF_ADDRESS);
        let caller = crowd.enter(address(1));
        let many: Vec<_> = (0..7).map(|_| crowd.enter(address(2))).collect();
        let late = crowd.enter(address(3));
        assert!(gave_way(&many[0]) && !gave_way(&many[1]));
        assert!(!gave_way(&caller) && !gave_way(&late));
        drop((caller, late, many));
        let each: Vec<_> = (1..=8).map(|number| crowd.enter(address(number))).collect();
        let next = crowd.enter(address(9));
        let gave: Vec<_> = each.iter().map(gave_way).collect();
        assert!(gave[0] && !gave[1..].contains(&true), "of many with one each, the oldest");
        drop((each, next));
        let inner = crowd.lock();
        assert!(inner.open.is_empty() && inner.by_address.is_empty());
    }
}
