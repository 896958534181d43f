//! A limit for unauthenticated connections. Any client can open such connections, so each source
//! has a share, and new connections displace old ones. A source is an IPv4 address, an IPv6 network
//! or a user of a Unix socket.

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

/// Limits connections. A new connection is admitted at once or soon, by displacing an older one.
#[derive(Clone, Debug)]
pub struct ConnectionLimit {
    max: usize,
    per_address: usize,
    min_age: Duration,
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
    displaced: CancellationToken,
}

/// An admitted connection, which counts until this is dropped.
#[derive(Debug)]
pub struct Permit {
    id: u64,
    displaced: CancellationToken,
    limit: ConnectionLimit,
}

impl ConnectionLimit {
    /// A limit of `max` connections (at least 1), with up to `per_address` for each source.
    #[must_use]
    pub fn new(max: usize, per_address: usize) -> Self {
        let min_age = Duration::ZERO;
        let (inner, freed) = (Arc::default(), Arc::default());
        Self { max: max.max(1), per_address, min_age, inner, freed }
    }

    /// Protects connections from displacement until they are `min_age` old. Until then, a source
    /// may exceed its share, and a new connection waits when the limit is reached.
    #[must_use]
    pub fn with_min_age(self, min_age: Duration) -> Self {
        Self { min_age, ..self }
    }

    /// Admits a connection. If the source has its full share, its oldest connection is displaced.
    /// If the limit is reached, the oldest connection of the source with the most connections is
    /// displaced; of several such sources, the one with the oldest connection.
    pub async fn admit(&self, from: impl Into<Remote>) -> Permit {
        let from = from.into().network();
        loop {
            match self.try_admit(from) {
                Ok(permit) => return permit,
                Err(wait) => {
                    let _ = timeout(wait, self.freed.notified()).await;
                }
            }
        }
    }

    /// Admits a connection, or returns how long to wait before retrying.
    fn try_admit(&self, from: Remote) -> Result<Permit, Duration> {
        let mut inner = self.lock();
        while inner.count(from) >= self.per_address
            && inner.oldest(from).is_some_and(|since| since.elapsed() >= self.min_age)
        {
            inner.displace_oldest(from);
        }
        while inner.open.len() >= self.max
            && let Some((address, since)) = inner.busiest()
        {
            let wait = self.min_age.saturating_sub(since.elapsed());
            if !wait.is_zero() {
                return Err(wait);
            }
            inner.displace_oldest(address);
        }
        let (id, displaced) = (inner.next, CancellationToken::new());
        inner.next += 1;
        inner.open.insert(id, Open { from, since: Instant::now(), displaced: displaced.clone() });
        *inner.by_address.entry(from).or_default() += 1;
        drop(inner);
        Ok(Permit { id, displaced, limit: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn count(&self, address: Remote) -> usize {
        self.by_address.get(&address).copied().unwrap_or_default()
    }

    /// When the oldest connection of `address` was opened.
    fn oldest(&self, address: Remote) -> Option<Instant> {
        self.open.values().find(|open| open.from == address).map(|open| open.since)
    }

    /// The source with the most connections, and when its oldest one was opened.
    fn busiest(&self) -> Option<(Remote, Instant)> {
        let most = self.by_address.values().max();
        let oldest = self.open.values().find(|open| self.by_address.get(&open.from) == most)?;
        Some((oldest.from, oldest.since))
    }

    /// Displaces the oldest connection of `address`.
    fn displace_oldest(&mut self, address: Remote) {
        let oldest = self.open.iter().find(|(_, open)| open.from == address);
        if let Some(id) = oldest.map(|(id, _)| *id)
            && let Some(open) = self.remove(id)
        {
            open.displaced.cancel();
        }
    }

    fn remove(&mut self, id: u64) -> Option<Open> {
        let removed = self.open.remove(&id)?;
        if let Some(open) = self.by_address.get_mut(&removed.from) {
            *open -= 1;
            if *open == 0 {
                self.by_address.remove(&removed.from);
            }
        }
        Some(removed)
    }
}

impl Permit {
    /// Waits until the connection is displaced.
    pub async fn displaced(&self) {
        self.displaced.cancelled().await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limit.lock().remove(self.id);
        self.limit.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::time::advance;

    use super::*;

    const PER_ADDRESS: usize = 32;

    fn address(number: u8) -> IpAddr {
        [127, 0, 0, number].into()
    }

    fn admit(limit: &ConnectionLimit, number: u8) -> Permit {
        limit.try_admit(address(number).into()).unwrap()
    }

    fn is_displaced(permit: &Permit) -> bool {
        permit.displaced.is_cancelled()
    }

    #[test]
    fn oldest_connection_of_an_address_is_displaced() {
        let limit = ConnectionLimit::new(256, PER_ADDRESS);
        let other = admit(&limit, 2);
        let mut open: Vec<_> = (0..PER_ADDRESS).map(|_| admit(&limit, 1)).collect();
        assert!(!open.iter().any(is_displaced));
        open.push(admit(&limit, 1));
        open.push(admit(&limit, 1));
        let displaced: Vec<_> = open.iter().map(is_displaced).collect();
        assert!(displaced[0] && displaced[1] && !displaced[2..].contains(&true));
        assert!(!is_displaced(&other));
        drop(open.pop());
        drop(admit(&limit, 1));
        assert!(!open[2..].iter().any(is_displaced), "closed connections do not count");
    }

    #[tokio::test]
    async fn addresses_of_an_ipv6_network_share_one_limit() {
        let limit = ConnectionLimit::new(256, 2);
        let mut open = Vec::new();
        for text in ["2001:db8::1", "2001:db8::2", "2001:db8::3"] {
            open.push(limit.admit(text.parse::<IpAddr>().unwrap()).await);
        }
        assert!(is_displaced(&open[0]) && !is_displaced(&open[1]) && !is_displaced(&open[2]));
    }

    #[test]
    fn at_the_limit_the_busiest_address_is_displaced() {
        let limit = ConnectionLimit::new(8, PER_ADDRESS);
        let caller = admit(&limit, 1);
        let many: Vec<_> = (0..7).map(|_| admit(&limit, 2)).collect();
        let late = admit(&limit, 3);
        assert!(is_displaced(&many[0]) && !is_displaced(&many[1]));
        assert!(!is_displaced(&caller) && !is_displaced(&late));
        drop((caller, late, many));
        let each: Vec<_> = (1..=8).map(|number| admit(&limit, number)).collect();
        let next = admit(&limit, 9);
        let displaced: Vec<_> = each.iter().map(is_displaced).collect();
        assert!(displaced[0] && !displaced[1..].contains(&true), "the oldest of equals");
        drop((each, next));
        let inner = limit.lock();
        assert!(inner.open.is_empty() && inner.by_address.is_empty());
    }

    const MIN_AGE: Duration = Duration::from_millis(100);

    fn with_min_age(max: usize) -> ConnectionLimit {
        ConnectionLimit::new(max, PER_ADDRESS).with_min_age(MIN_AGE)
    }

    fn burst(limit: &ConnectionLimit, count: usize, number: u8) -> Vec<Permit> {
        (0..count).map(|_| admit(limit, number)).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn share_of_an_address_applies_after_the_minimum_age() {
        let limit = with_min_age(256);
        let open = burst(&limit, PER_ADDRESS, 1);
        advance(MIN_AGE).await;
        let other = limit.admit(address(2)).await;
        assert!(!open.iter().any(is_displaced), "another address");
        let next = limit.admit(address(1)).await;
        assert!(is_displaced(&open[0]) && !is_displaced(&open[1]));
        assert!(!is_displaced(&next) && !is_displaced(&other));
        drop(open);
        assert_eq!(limit.lock().open.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn burst_of_one_address_is_admitted_below_the_limit() {
        let limit = with_min_age(256);
        let burst = burst(&limit, 200, 1);
        assert!(!burst.iter().any(is_displaced));
        advance(MIN_AGE).await;
        let _next = limit.admit(address(1)).await;
        assert_eq!(burst.iter().filter(|it| is_displaced(it)).count(), 200 - PER_ADDRESS + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_limit_a_new_connection_waits_for_the_minimum_age() {
        let limit = with_min_age(8);
        let one = limit.admit(address(1)).await;
        let many = burst(&limit, 7, 2);
        let began = Instant::now();
        let next = limit.admit(address(3)).await;
        assert_eq!(began.elapsed(), MIN_AGE, "newer connections are protected");
        assert!(is_displaced(&many[0]) && !is_displaced(&many[1]));
        assert!(!is_displaced(&one) && !is_displaced(&next));
    }
}
