//! Places for handshakes: connections whose client has not yet said enough to be served.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::auth::peer::network;

/// Handshakes of one address at the same time.
const OF_ADDRESS: usize = 32;

/// A handshake is not displaced before that: who connects many times at once, as after a restart,
/// waits for our work and not for its client.
const SETTLING: Duration = Duration::from_millis(100);

/// The handshakes under way. A new one soon finds a place: where all are taken, the oldest of the
/// address that has the most gives way.
#[derive(Clone, Debug)]
pub(super) struct Handshakes {
    most: usize,
    table: Arc<Mutex<Table>>,
    freed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// By number, and so by age.
    under_way: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    from: IpAddr,
    since: Instant,
    displaced: CancellationToken,
}

/// The place of one handshake, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    displaced: CancellationToken,
    handshakes: Handshakes,
}

impl Handshakes {
    /// At most this many at the same time.
    pub(super) fn new(most: usize) -> Self {
        Self { most, table: Arc::default(), freed: Arc::default() }
    }

    /// A place for a handshake with this address.
    pub(super) async fn begin(&self, from: IpAddr) -> Place {
        let from = network(from);
        loop {
            match self.try_begin(from) {
                Ok(place) => return place,
                Err(settling) => {
                    let _ = timeout(settling, self.freed.notified()).await;
                }
            }
        }
    }

    /// A place, or how long none can be had.
    fn try_begin(&self, from: IpAddr) -> Result<Place, Duration> {
        let mut table = self.table();
        while table.has_too_many(from) {
            table.displace_oldest(from);
        }
        while table.under_way.len() >= self.most {
            let (crowd, since) = table.largest();
            let settling = SETTLING.saturating_sub(since.elapsed());
            if !settling.is_zero() {
                return Err(settling);
            }
            table.displace_oldest(crowd);
        }
        let (number, displaced) = (table.next, CancellationToken::new());
        table.next += 1;
        let entry = Entry { from, since: Instant::now(), displaced: displaced.clone() };
        table.under_way.insert(number, entry);
        drop(table);
        Ok(Place { number, displaced, handshakes: self.clone() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Whether the address has its share, and the oldest of it had its time.
    fn has_too_many(&self, from: IpAddr) -> bool {
        let mut its = self.under_way.values().filter(|entry| entry.from == from);
        let oldest = its.next().map(|entry| entry.since);
        its.count() + 1 >= OF_ADDRESS && oldest.is_some_and(|since| since.elapsed() >= SETTLING)
    }

    /// The address with the most handshakes, of several the one with the oldest; and since when
    /// it has that. There is one where places are taken.
    fn largest(&self) -> (IpAddr, Instant) {
        let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for entry in self.under_way.values() {
            *counts.entry(entry.from).or_default() += 1;
        }
        let most = counts.values().max().copied();
        let mut entries = self.under_way.values();
        let oldest = entries.find(|entry| counts.get(&entry.from).copied() == most);
        oldest.map_or_else(|| (IpAddr::from([0; 4]), Instant::now()), |it| (it.from, it.since))
    }

    fn displace_oldest(&mut self, from: IpAddr) {
        let oldest = self.under_way.iter().find(|(_, entry)| entry.from == from);
        if let Some(entry) =
            oldest.map(|(number, _)| *number).and_then(|it| self.under_way.remove(&it))
        {
            entry.displaced.cancel();
        }
    }
}

impl Place {
    /// Returns when the handshake must give way to another.
    pub(super) async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.handshakes.table().under_way.remove(&self.number);
        self.handshakes.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn begin(handshakes: &Handshakes, count: usize, last: u8) -> Vec<Place> {
        (0..count).map(|_| handshakes.try_begin(address(last)).unwrap()).collect()
    }

    fn is_displaced(place: &Place) -> bool {
        place.displaced.is_cancelled()
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_has_its_share_and_its_oldest_gives_way() {
        let handshakes = Handshakes::new(256);
        let held = begin(&handshakes, OF_ADDRESS, 1);
        advance(SETTLING).await;
        let other = handshakes.begin(address(2)).await;
        assert!(!held.iter().any(is_displaced), "that is another's");
        let next = handshakes.begin(address(1)).await;
        assert!(is_displaced(&held[0]) && !is_displaced(&held[1]));
        assert!(!is_displaced(&next) && !is_displaced(&other));
        drop(held);
        assert_eq!(handshakes.table().under_way.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_one_address_is_let_in_while_there_is_room() {
        let handshakes = Handshakes::new(256);
        let burst = begin(&handshakes, 200, 1);
        assert!(!burst.iter().any(is_displaced));
        advance(SETTLING).await;
        let _next = handshakes.begin(address(1)).await;
        assert_eq!(burst.iter().filter(|it| is_displaced(it)).count(), 200 - OF_ADDRESS + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_places_are_taken_the_address_with_the_most_gives_way() {
        let handshakes = Handshakes::new(8);
        let one = handshakes.begin(address(1)).await;
        let crowd = begin(&handshakes, 7, 2);
        let began = Instant::now();
        let next = handshakes.begin(address(3)).await;
        assert_eq!(began.elapsed(), SETTLING, "they may wait for us");
        assert!(is_displaced(&crowd[0]) && !is_displaced(&crowd[1]));
        assert!(!is_displaced(&one) && !is_displaced(&next));
    }
}
