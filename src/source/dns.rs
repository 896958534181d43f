//! DNS lookups for upstreams: one in flight per name, with the last good addresses as a fallback
//! if a lookup fails or is slow.

use std::{
    collections::HashMap,
    future::Future,
    net::{SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
    vec,
};

use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::watch;
use tower_service::Service;

/// How long to wait for a lookup before the last good addresses are used.
const PATIENCE: Duration = Duration::from_millis(500);

/// How many of a name's addresses are tried per family in one attempt.
const TRIED: usize = 3;

/// A name currently has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name has no address")]
pub struct LookupError;

type Addresses = Result<Vec<SocketAddr>, LookupError>;
type Lookup = dyn Fn(&str) -> Addresses + Send + Sync;
type Pending = watch::Receiver<Option<Addresses>>;

#[derive(Default)]
struct Entry {
    last_good: Vec<SocketAddr>,
    in_flight: Option<Pending>,
}

/// Looks names up. Clones share their cache.
#[derive(Clone)]
pub struct Resolver {
    lookup: Arc<Lookup>,
    patience: Duration,
    entries: Arc<Mutex<HashMap<String, Entry>>>,
}

impl Resolver {
    /// The system's resolver, on a separate thread since it blocks.
    #[must_use]
    pub fn system() -> Self {
        Self::with(PATIENCE, |host| {
            let found = (host, 0).to_socket_addrs().map_err(|_| LookupError)?;
            Ok(found.collect())
        })
    }

    /// A resolver over `lookup`, which may block. Where addresses are known, it waits for a lookup
    /// up to `patience`.
    pub fn with(
        patience: Duration,
        lookup: impl Fn(&str) -> Addresses + Send + Sync + 'static,
    ) -> Self {
        Self { lookup: Arc::new(lookup), patience, entries: Arc::default() }
    }

    /// The addresses of `host`.
    pub async fn resolve(&self, host: &str) -> Addresses {
        let (mut lookup, last_good) = self.join(host);
        let result = tokio::time::timeout(self.patience, lookup.wait_for(Option::is_some)).await;
        match result.map(|found| found.ok().and_then(|found| found.clone())) {
            Ok(Some(Ok(found))) => return Ok(found),
            // The lookup continues; its result serves the next attempt.
            Err(_) if last_good.is_empty() => {}
            _ if last_good.is_empty() => return Err(LookupError),
            _ => return Ok(last_good),
        }
        let found = lookup.wait_for(Option::is_some).await;
        found.ok().and_then(|found| found.clone()).unwrap_or(Err(LookupError))
    }

    /// The lookup in flight, started if there was none, and the addresses of the last good one.
    fn join(&self, host: &str) -> (Pending, Vec<SocketAddr>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(host.to_owned()).or_default();
        if let Some(in_flight) = &entry.in_flight {
            return (in_flight.clone(), entry.last_good.clone());
        }
        let (done, in_flight) = watch::channel(None);
        entry.in_flight = Some(in_flight.clone());
        let last_good = entry.last_good.clone();
        drop(entries);

        let (resolver, host) = (self.clone(), host.to_owned());
        let mut lookup = InFlight { resolver, host, done, found: Err(LookupError) };
        tokio::task::spawn_blocking(move || lookup.run());
        (in_flight, last_good)
    }

    fn finish(&self, host: &str, found: &Addresses) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(host) {
            entry.in_flight = None;
            if let Ok(found) = found {
                entry.last_good.clone_from(found);
            }
        }
    }
}

/// A lookup that reports its result on drop: nothing waits indefinitely for one that panicked.
struct InFlight {
    resolver: Resolver,
    host: String,
    done: watch::Sender<Option<Addresses>>,
    found: Addresses,
}

impl InFlight {
    fn run(&mut self) {
        let found = (self.resolver.lookup)(&self.host);
        // A name without an address counts as not found.
        self.found = found.and_then(|it| if it.is_empty() { Err(LookupError) } else { Ok(it) });
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.resolver.finish(&self.host, &self.found);
        self.done.send_replace(Some(self.found.clone()));
    }
}

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = LookupError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move {
            resolver.resolve(name.as_str()).await.map(limit_per_family).map(Vec::into_iter)
        })
    }
}

/// Keeps the first addresses of each family, so that each has enough time to respond.
fn limit_per_family(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut kept = [0, 0];
    addresses.retain(|address| {
        let of_family = &mut kept[usize::from(address.is_ipv6())];
        *of_family += 1;
        *of_family <= TRIED
    });
    addresses
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    };

    use super::*;

    fn address(last: u8) -> SocketAddr {
        ([127, 0, 0, last], 0).into()
    }

    #[tokio::test]
    async fn failed_lookup_uses_the_last_good_addresses() {
        let calls = Arc::new(AtomicUsize::new(0));
        let resolver =
            Resolver::with(PATIENCE, move |_| match calls.fetch_add(1, Ordering::SeqCst) {
                0 => Ok(vec![address(1)]),
                1 => Ok(Vec::new()),
                _ => Err(LookupError),
            });
        assert_eq!(resolver.resolve("upstream").await, Ok(vec![address(1)]));
        assert_eq!(resolver.resolve("upstream").await, Ok(vec![address(1)]), "none was found");
        assert_eq!(resolver.resolve("upstream").await, Ok(vec![address(1)]));
        assert_eq!(resolver.resolve("another").await, Err(LookupError));
    }

    #[test]
    fn addresses_are_limited_per_family() {
        let v6 = |last| SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, last], 0));
        let found =
            vec![v6(1), v6(2), v6(3), v6(4), address(1), address(2), address(3), address(4)];
        let tried = vec![v6(1), v6(2), v6(3), address(1), address(2), address(3)];
        assert_eq!(limit_per_family(found), tried);
        assert_eq!(limit_per_family(vec![address(1)]), [address(1)]);
    }

    #[tokio::test]
    async fn panicked_lookup_fails_and_is_followed_by_another() {
        let calls = Arc::new(AtomicUsize::new(0));
        let resolver =
            Resolver::with(PATIENCE, move |_| match calls.fetch_add(1, Ordering::SeqCst) {
                0 => std::panic::resume_unwind(Box::new("in a test")),
                _ => Ok(vec![address(1)]),
            });
        assert_eq!(resolver.resolve("upstream").await, Err(LookupError));
        assert_eq!(resolver.resolve("upstream").await, Ok(vec![address(1)]));
    }

    #[tokio::test]
    async fn hanging_lookup_does_not_block_known_addresses() {
        let (release, hang) = mpsc::channel::<()>();
        let hang = Mutex::new(hang);
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let resolver = Resolver::with(Duration::ZERO, move |_| {
            if counted.fetch_add(1, Ordering::SeqCst) > 0 {
                // Hangs until the test releases it.
                let _ = hang.lock().map(|hang| hang.recv());
            }
            Ok(vec![address(1)])
        });
        assert_eq!(resolver.resolve("upstream").await, Ok(vec![address(1)]));
        for _ in 0..3 {
            assert_eq!(resolver.resolve("upstream").await, Ok(vec![address(1)]));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2, "one lookup in flight");
        drop(release);
    }
}
