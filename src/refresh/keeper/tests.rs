//! Keepers in paused time: repeated credentials, replaced keys, orders.

use std::{sync::Mutex, time::Duration};

use fastrand::Rng;
use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::*;
use crate::{
    clock::WallTime,
    grant::cell::{Reader, cell},
    name::{GrantName, ProfileName, Resource},
    refresh::schedule::{GrantLife, Point, Policy},
    source::{Granted, Mark},
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Prepares a grant as its own text.
struct PlainText;

impl Prepare for PlainText {
    type Ready = String;
    type Error = &'static str;

    fn prepare(&self, grant: &Grant) -> Result<String, &'static str> {
        Ok(grant.content().as_str().to_owned())
    }
}

/// An upstream that follows a script, by seconds since the start.
struct Scripted<F> {
    clock: Clock,
    start: crate::clock::BootTime,
    script: F,
    requests: Arc<Mutex<Vec<u64>>>,
}

impl<F: Fn(u64) -> (&'static str, Granted) + Send + Sync> GrantSource for Scripted<F> {
    fn fetch(&self, _: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        let anchor = self.clock.now();
        let at = anchor.boot.since(self.start).as_secs();
        self.requests.lock().unwrap().push(at);
        let (credential, granted) = (self.script)(at);
        let mark = Mark::of(credential, None);
        let fetched = Fetched { content: credential.into(), anchor, granted, mark };
        std::future::ready(Ok(fetched)).boxed()
    }
}

struct Fixture {
    reader: Reader<String>,
    clock: Clock,
    start: crate::clock::BootTime,
    requests: Arc<Mutex<Vec<u64>>>,
}

impl Fixture {
    /// A keeper of grants whose life responses report, refreshed at half of it.
    fn new(script: impl Fn(u64) -> (&'static str, Granted) + Send + Sync + 'static) -> Self {
        let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
        let (start, requests) = (clock.now().boot, Arc::default());
        let source =
            Scripted { clock: clock.clone(), start, script, requests: Arc::clone(&requests) };
        Self { requests, ..Self::of(clock, source) }
    }

    /// The same with any source.
    fn of(clock: Clock, source: impl GrantSource + 'static) -> Self {
        let start = clock.now().boot;
        let profile = ProfileName::parse("shared").unwrap();
        let name = GrantName { profile, resource: Resource::parse("default").unwrap() };
        let changes = Arc::new(watch::Sender::new(()));
        let (publisher, reader) = cell(name, secs(2), PlainText, changes);
        let (life, point) = (GrantLife::Reported, Point::Share(0.5));
        let policy = Policy { life, margin: secs(2), attempt: secs(2), point };
        let state = State::new(policy, Rng::with_seed(1), clock.now());
        let jumps = watch::Sender::new(()).subscribe();
        let rekeyed = watch::Sender::new(Arc::new(Semaphore::new(0))).subscribe();
        let events = Events { jumps, rekeyed };
        let source = Arc::new(source);
        let keeper =
            Keeper::new(source, publisher, state, clock.clone(), events, &Metrics::default());
        tokio::spawn(keeper.run());
        Self { reader, clock, start, requests: Arc::default() }
    }

    /// Sleeps until `at` seconds after the start.
    async fn until(&self, at: u64) {
        sleep((self.start + secs(at)).since(self.clock.now().boot)).await;
    }

    fn status(&self) -> Status {
        self.reader.view().status()
    }

    fn life(&self) -> Life {
        self.status().life.unwrap()
    }

    /// The expiry of the current grant, in seconds from the start.
    fn end(&self) -> u64 {
        let life = self.life();
        (life.anchor.boot + life.ttl).since(self.start).as_secs()
    }

    fn requests(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn restated_credential_keeps_its_generation() {
    let fixture = Fixture::new(|_| ("a", Granted::Stated(secs(3_600))));
    fixture.until(1).await;
    let first = fixture.life();
    fixture.until(4 * 3_600).await;
    assert_eq!(fixture.life().generation, first.generation);
    assert!(fixture.end() >= 4 * 3_600 + 1_800, "{}", fixture.end());
    let status = fixture.status();
    assert_eq!((status.refresh, status.last_fault), (RefreshState::Ok, None));
    assert!(fixture.requests() < 12, "once in half a life: {}", fixture.requests());
    // For a caller whose player refused it, it is not a new one.
    fixture.reader.demand(first.generation);
    fixture.until(5 * 3_600).await;
    assert_eq!(fixture.life().generation, first.generation);
}

#[tokio::test(start_paused = true)]
async fn assumed_life_of_the_same_credential_is_not_extended() {
    let fixture = Fixture::new(|_| ("a", Granted::Assumed(secs(3_600))));
    fixture.until(3_000).await;
    let status = fixture.status();
    assert_eq!(status.last_fault.unwrap().reason, "GRANT_UNCHANGED");
    assert_eq!((fixture.end(), status.refresh), (3_600, RefreshState::Ok));
    fixture.until(3_590).await;
    assert_eq!((fixture.end(), fixture.status().refresh), (3_600, RefreshState::Retrying));
}

#[tokio::test(start_paused = true)]
async fn upstream_that_renews_late_is_not_a_failure() {
    let fixture = Fixture::new(|at| match at {
        ..6_900 => ("a", Granted::Stated(secs(7_200 - at))),
        _ => ("b", Granted::Stated(secs(7_200))),
    });
    fixture.until(6_000).await;
    assert_eq!((fixture.end(), fixture.status().refresh), (7_200, RefreshState::Ok));
    let first = fixture.life().generation;
    fixture.until(7_150).await;
    assert!(fixture.life().generation > first);
    assert_eq!(fixture.status().refresh, RefreshState::Ok);
    assert!((5..30).contains(&fixture.requests()), "{}", fixture.requests());
}

#[tokio::test(start_paused = true)]
async fn shortened_credential_expires_when_its_upstream_says() {
    let fixture = Fixture::new(|at| match at {
        0 => ("a", Granted::Stated(secs(3_600))),
        1..2_000 => ("a", Granted::Stated(secs(2_000 - at))),
        _ => ("b", Granted::Stated(secs(3_600))),
    });
    fixture.until(1).await;
    assert_eq!(fixture.end(), 3_600);
    let first = fixture.life().generation;
    fixture.until(1_900).await;
    let status = fixture.status();
    assert_eq!((fixture.end(), fixture.life().generation), (2_000, first));
    assert!(status.last_fault.is_some(), "no success: {status:?}");
    fixture.until(2_100).await;
    assert!(fixture.life().generation > first && fixture.end() > 5_000);
}

/// Prepares a grant as its text and the current key.
struct Keyed(Arc<Mutex<&'static str>>);

impl Prepare for Keyed {
    type Ready = String;
    type Error = &'static str;

    fn prepare(&self, grant: &Grant) -> Result<String, &'static str> {
        Ok(format!("{} by {}", grant.content().as_str(), self.0.lock().unwrap()))
    }
}

/// Responds once, then never.
struct Hangs(Clock, Mutex<bool>);

impl GrantSource for Hangs {
    fn fetch(&self, _: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        if std::mem::replace(&mut *self.1.lock().unwrap(), true) {
            return std::future::pending().boxed();
        }
        let (anchor, mark) = (self.0.now(), Mark::of("a", None));
        let granted = Granted::Assumed(secs(60));
        std::future::ready(Ok(Fetched { content: "a".into(), anchor, granted, mark })).boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn new_key_signs_while_the_upstream_hangs() {
    let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
    let key = Arc::new(Mutex::new("old"));
    let profile = ProfileName::parse("live").unwrap();
    let name = GrantName { profile, resource: Resource::parse("a").unwrap() };
    let changes = Arc::new(watch::Sender::new(()));
    let (publisher, reader) = cell(name, secs(2), Keyed(Arc::clone(&key)), changes);
    let policy = Policy {
        life: GrantLife::Requested(secs(60)),
        margin: secs(2),
        attempt: secs(2),
        point: Point::Share(0.5),
    };
    let state = State::new(policy, Rng::with_seed(1), clock.now());
    let jumps = watch::Sender::new(());
    let rekeyed = watch::Sender::new(Arc::new(Semaphore::new(0)));
    let events = Events { jumps: jumps.subscribe(), rekeyed: rekeyed.subscribe() };
    let source = Arc::new(Hangs(clock.clone(), Mutex::new(false)));
    let keeper = Keeper::new(source, publisher, state, clock, events, &Metrics::default());
    tokio::spawn(keeper.run());
    let ready = || reader.load().as_ref().map(|it| (it.ready.clone(), it.grant.life().generation));
    for (wait, new) in [(1, "second"), (49, "third")] {
        sleep(secs(wait)).await;
        let (_, generation) = ready().unwrap();
        *key.lock().unwrap() = new;
        let done = Arc::new(Semaphore::new(0));
        rekeyed.send_replace(Arc::clone(&done));
        done.acquire().await.unwrap().forget();
        assert_eq!(ready(), Some((format!("a by {new}"), generation)));
    }
    assert!(reader.view().status().attempting, "the third key came during an attempt");
}

#[tokio::test(start_paused = true)]
async fn ordered_refresh_returns_after_the_attempt() {
    let fixture =
        Fixture::new(|at| (if at < 30 { "a" } else { "b" }, Granted::Stated(secs(3_600))));
    fixture.until(20).await;
    let view = fixture.reader.view();
    let _ = view.refresh().now_or_never();
    fixture.until(40).await;
    assert_eq!(fixture.requests(), 1, "the caller of that order has gone");
    let first = fixture.life().generation;
    let (one, other) = tokio::join!(view.refresh(), view.refresh());
    assert_eq!((one, other), (Some(OrderOutcome::Attempted), Some(OrderOutcome::Attempted)));
    assert!(fixture.life().generation > first);
    assert_eq!(fixture.requests(), 2, "one attempt for both");
    let again = view.refresh().await;
    assert_eq!(again, Some(OrderOutcome::Held(fixture.start + secs(45))));
    fixture.until(60).await;
    assert_eq!(fixture.requests(), 2);
}

/// Holds each attempt except an ordered one for a refused credential, after a second.
struct HoldsUnlessOrdered(Clock, Arc<Mutex<Vec<Urgency>>>);

impl GrantSource for HoldsUnlessOrdered {
    fn fetch(&self, request: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        async move {
            self.1.lock().unwrap().push(request.urgency);
            sleep(secs(1)).await;
            if request.urgency != Urgency::Ordered {
                let until = self.0.now().boot + secs(300);
                return Err(FetchError::Held { class: FaultClass::Credential, until });
            }
            let (anchor, mark) = (self.0.now(), Mark::of("a", None));
            let granted = Granted::Stated(secs(3_600));
            Ok(Fetched { content: "a".into(), anchor, granted, mark })
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn order_during_a_held_attempt_gets_its_own_attempt() {
    let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
    let urgencies = Arc::<Mutex<Vec<_>>>::default();
    let source = HoldsUnlessOrdered(clock.clone(), Arc::clone(&urgencies));
    let Fixture { reader, .. } = Fixture::of(clock, source);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(*urgencies.lock().unwrap(), [Urgency::Lapsed]);
    let view = reader.view();
    assert_eq!(view.refresh().await, Some(OrderOutcome::Attempted));
    assert_eq!(*urgencies.lock().unwrap(), [Urgency::Lapsed, Urgency::Ordered]);
    assert!(reader.view().status().life.is_some());
}
