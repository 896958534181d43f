//! Connections that nobody has vouched for: anybody may open as many as they like, so that each
//! address (of IPv6, each network; of a Unix socket, each user) has only so many places, and
//! older ones give way to newer.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::remote::Remote;

/// The places. There is always one more, at once or soon: an older connection gives way for it.
#[derive(Clone, Debug)]
pub struct Crowd {
    places: usize,
    of_address: usize,
    settling: Duration,
    inner: Arc<Mutex<Inner>>,
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    /// By number, and so by age.
    open: BTreeMap<u64, Open>,
    by_address: HashMap<Remote, usize>,
}

#[derive(Debug)]
struct Open {
    from: Remote,
    since: Instant,
    gives_way: CancellationToken,
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
        let settling = Duration::ZERO;
        let (inner, freed) = (Arc::default(), Arc::default());
        Self { places: places.max(1), of_address, settling, inner, freed }
    }

    /// The same, where none gives way before it has been open for so long. An address may have
    /// more than its places for that time, and where all are taken a new one waits.
    #[must_use]
    pub fn settling_for(self, settling: Duration) -> Self {
        Self { settling, ..self }
    }

    /// A place for a connection from there. Where the address has as many as it may, its
    /// oldest gives way; where all places are taken, the oldest of the address that has most, of
    /// several the one with the oldest.
    pub async fn enter(&self, from: impl Into<Remote>) -> Entry {
        let from = from.into().network();
        loop {
            match self.try_enter(from) {
                Ok(entry) => return entry,
                Err(settling) => {
                    let _ = timeout(settling, self.freed.notified()).await;
                }
            }
        }
    }

    /// A place, or how long none can be had.
    fn try_enter(&self, from: Remote) -> Result<Entry, Duration> {
        let mut inner = self.lock();
        while inner.count(from) >= self.of_address
            && inner.oldest(from).is_some_and(|since| since.elapsed() >= self.settling)
        {
            inner.give_way(from);
        }
        while inner.open.len() >= self.places
            && let Some((address, since)) = inner.most_crowded()
        {
            let settling = self.settling.saturating_sub(since.elapsed());
            if !settling.is_zero() {
                return Err(settling);
            }
            inner.give_way(address);
        }
        let (id, gives_way) = (inner.next, CancellationToken::new());
        inner.next += 1;
        inner.open.insert(id, Open { from, since: Instant::now(), gives_way: gives_way.clone() });
        *inner.by_address.entry(from).or_default() += 1;
        drop(inner);
        Ok(Entry { id, gives_way, crowd: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&self, address: Remote) -> usize {
        self.by_address.get(&address).copied().unwrap_or_default()
    }

    /// Since when the oldest connection of `address` is open.
    fn oldest(&self, address: Remote) -> Option<Instant> {
        self.open.values().find(|open| open.from == address).map(|open| open.since)
    }

    /// The address that has most, of several the one with the oldest, and since when that is open.
    fn most_crowded(&self) -> Option<(Remote, Instant)> {
        let most = self.by_address.values().max();
        let oldest = self.open.values().find(|open| self.by_address.get(&open.from) == most)?;
        Some((oldest.from, oldest.since))
    }

    /// Takes its place from the oldest connection of `address`.
    fn give_way(&mut self, address: Remote) {
        let oldest = self.open.iter().find(|(_, open)| open.from == address);
        if let Some(id) = oldest.map(|(id, _)| *id)
            && let Some(open) = self.leave(id)
        {
            open.gives_way.cancel();
        }
    }

    fn leave(&mut self, id: u64) -> Option<Open> {
        let left = self.open.remove(&id)?;
        if let Some(open) = self.by_address.get_mut(&left.from) {
            *open -= 1;
            if *open == 0 {
                self.by_address.remove(&left.from);
            }
        }
        Some(left)
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
        self.crowd.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::time::advance;

    use super::*;

    const OF_ADDRESS: usize = 32;

    fn address(number: u8) -> IpAddr {
        [127, 0, 0, number].into()
    }

    fn enter(crowd: &Crowd, number: u8) -> Entry {
        crowd.try_enter(address(number).into()).unwrap()
    }

    fn gave_way(entry: &Entry) -> bool {
        entry.gives_way.is_cancelled()
    }

    #[test]
    fn an_address_has_32_and_its_oldest_gives_way() {
        let crowd = Crowd::new(256, OF_ADDRESS);
        let other = enter(&crowd, 2);
        let mut open: Vec<_> = (0..OF_ADDRESS).map(|_| enter(&crowd, 1)).collect();
        assert!(!open.iter().any(gave_way));
        open.push(enter(&crowd, 1));
        open.push(enter(&crowd, 1));
        let gave: Vec<_> = open.iter().map(gave_way).collect();
        assert!(gave[0] && gave[1] && !gave[2..].contains(&true));
        assert!(!gave_way(&other));
        drop(open.pop());
        drop(enter(&crowd, 1));
        assert!(!open[2..].iter().any(gave_way), "what ended has made room");
    }

    #[tokio::test]
    async fn the_addresses_of_an_ipv6_network_are_one() {
        let crowd = Crowd::new(256, 2);
        let mut open = Vec::new();
        for text in ["2001:db8::1", "2001:db8::2", "2001:db8::3"] {
            open.push(crowd.enter(text.parse::<IpAddr>().unwrap()).await);
        }
        assert!(gave_way(&open[0]) && !gave_way(&open[1]) && !gave_way(&open[2]));
    }

    #[test]
    fn where_all_places_are_taken_the_address_that_has_most_gives_way() {
        let crowd = Crowd::new(8, OF_ADDRESS);
        let caller = enter(&crowd, 1);
        let many: Vec<_> = (0..7).map(|_| enter(&crowd, 2)).collect();
        let late = enter(&crowd, 3);
        assert!(gave_way(&many[0]) && !gave_way(&many[1]));
        assert!(!gave_way(&caller) && !gave_way(&late));
        drop((caller, late, many));
        let each: Vec<_> = (1..=8).map(|number| enter(&crowd, number)).collect();
        let next = enter(&crowd, 9);
        let gave: Vec<_> = each.iter().map(gave_way).collect();
        assert!(gave[0] && !gave[1..].contains(&true), "of many with one each, the oldest");
        drop((each, next));
        let inner = crowd.lock();
        assert!(inner.open.is_empty() && inner.by_address.is_empty());
    }

    const SETTLING: Duration = Duration::from_millis(100);

    fn settling(places: usize) -> Crowd {
        Crowd::new(places, OF_ADDRESS).settling_for(SETTLING)
    }

    fn burst(crowd: &Crowd, count: usize, number: u8) -> Vec<Entry> {
        (0..count).map(|_| enter(crowd, number)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_its_share_once_its_connections_have_settled() {
        let crowd = settling(256);
        let held = burst(&crowd, OF_ADDRESS, 1);
        advance(SETTLING).await;
        let other = crowd.enter(address(2)).await;
        assert!(!held.iter().any(gave_way), "that is another's");
        let next = crowd.enter(address(1)).await;
        assert!(gave_way(&held[0]) && !gave_way(&held[1]));
        assert!(!gave_way(&next) && !gave_way(&other));
        drop(held);
        assert_eq!(crowd.lock().open.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_one_address_is_let_in_while_there_is_room() {
        let crowd = settling(256);
        let burst = burst(&crowd, 200, 1);
        assert!(!burst.iter().any(gave_way));
        advance(SETTLING).await;
        let _next = crowd.enter(address(1)).await;
        assert_eq!(burst.iter().filter(|it| gave_way(it)).count(), 200 - OF_ADDRESS + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_places_are_taken_a_new_one_waits_until_another_has_settled() {
        let crowd = settling(8);
        let one = crowd.enter(address(1)).await;
        let many = burst(&crowd, 7, 2);
        let began = Instant::now();
        let next = crowd.enter(address(3)).await;
        assert_eq!(began.elapsed(), SETTLING, "they may wait for us");
        assert!(gave_way(&many[0]) && !gave_way(&many[1]));
        assert!(!gave_way(&one) && !gave_way(&next));
    }
}
