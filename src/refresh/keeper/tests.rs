//! The same credential again, in paused time.

use std::{sync::Mutex, time::Duration};

use fastrand::Rng;
use futures_util::future::BoxFuture;
use tokio::time::sleep;

use super::*;
use crate::{
    clock::WallTime,
    grant::cell::{Reader, cell},
    name::{GrantName, ProfileName, Resource},
    refresh::schedule::{Lives, Point, Policy},
    source::{Granted, Mark},
};

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Prepares a grant as its own text.
struct Texts;

impl Prepare for Texts {
    type Ready = String;
    type Error = &'static str;

    fn prepare(&self, grant: &Grant) -> Result<String, &'static str> {
        Ok(grant.content().as_str().to_owned())
    }
}

/// An upstream that answers as its script says, by the seconds since the start.
struct Scripted<F> {
    clock: Clock,
    start: crate::clock::BootTime,
    script: F,
    asked: Arc<Mutex<Vec<u64>>>,
}

impl<F: Fn(u64) -> (&'static str, Granted) + Send + Sync> GrantSource for Scripted<F> {
    fn fetch(&self, _: FetchRequest) -> BoxFuture<'_, Result<Fetched, FetchError>> {
        let anchor = self.clock.now();
        let at = anchor.boot.since(self.start).as_secs();
        self.asked.lock().unwrap().push(at);
        let (credential, granted) = (self.script)(at);
        let mark = Mark::of(credential, None);
        let fetched = Fetched { content: credential.into(), anchor, granted, mark };
        std::future::ready(Ok(fetched)).boxed()
    }
}

struct World {
    reader: Reader<String>,
    clock: Clock,
    start: crate::clock::BootTime,
    asked: Arc<Mutex<Vec<u64>>>,
}

impl World {
    /// A keeper of grants whose life only the answers tell, refreshed at half of it.
    fn new(script: impl Fn(u64) -> (&'static str, Granted) + Send + Sync + 'static) -> Self {
        let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
        let (start, asked) = (clock.now().boot, Arc::default());
        let source = Scripted { clock: clock.clone(), start, script, asked: Arc::clone(&asked) };
        Self { asked, ..Self::of(clock, source) }
    }

    /// The same with any source.
    fn of(clock: Clock, source: impl GrantSource + 'static) -> Self {
        let start = clock.now().boot;
        let profile = ProfileName::parse("shared").unwrap();
        let name = GrantName { profile, resource: Resource::parse("default").unwrap() };
        let changes = Arc::new(watch::Sender::new(()));
        let (publisher, reader) = cell(name, secs(2), Texts, changes);
        let (lives, point) = (Lives::Told, Point::Share(0.5));
        let policy = Policy { lives, margin: secs(2), attempt: secs(2), point };
        let state = State::new(policy, Rng::with_seed(1), clock.now());
        let jumps = watch::Sender::new(()).subscribe();
        let rekeyed = watch::Sender::new(Arc::new(Semaphore::new(0))).subscribe();
        let events = Events { jumps, rekeyed };
        let source = Arc::new(source);
        let keeper =
            Keeper::new(source, publisher, state, clock.clone(), events, &Metrics::default());
        tokio::spawn(keeper.run());
        Self { reader, clock, start, asked: Arc::default() }
    }

    /// Lets time pass until so many seconds after the start.
    async fn until(&self, at: u64) {
        sleep((self.start + secs(at)).since(self.clock.now().boot)).await;
    }

    fn status(&self) -> Status {
        self.reader.view().status()
    }

    fn life(&self) -> Life {
        self.status().life.unwrap()
    }

    /// The end of the present grant, in seconds from the start.
    fn end(&self) -> u64 {
        let life = self.life();
        (life.anchor.boot + life.ttl).since(self.start).as_secs()
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_whose_life_is_stated_anew_keeps_its_generation_and_lives_on() {
    let world = World::new(|_| ("a", Granted::Stated(secs(3_600))));
    world.until(1).await;
    let first = world.life();
    world.until(4 * 3_600).await;
    assert_eq!(world.life().generation, first.generation);
    assert!(world.end() >= 4 * 3_600 + 1_800, "{}", world.end());
    let status = world.status();
    assert_eq!((status.refresh, status.last_fault), (RefreshState::Ok, None));
    assert!(world.asked() < 12, "once in half a life: {}", world.asked());
    // Who was refused with it is not told that this is another one.
    world.reader.demand(first.generation);
    world.until(5 * 3_600).await;
    assert_eq!(world.life().generation, first.generation);
}

#[tokio::test(start_paused = true)]
async fn a_credential_whose_life_is_only_assumed_ends_when_it_would_have() {
    let world = World::new(|_| ("a", Granted::Assumed(secs(3_600))));
    world.until(3_000).await;
    let status = world.status();
    assert_eq!(status.last_fault.unwrap().reason, "GRANT_UNCHANGED");
    assert_eq!((world.end(), status.refresh), (3_600, RefreshState::Ok));
    world.until(3_590).await;
    assert_eq!((world.end(), world.status().refresh), (3_600, RefreshState::Retrying));
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_renews_in_the_last_minutes_is_waited_for() {
    let world = World::new(|at| match at {
        ..6_900 => ("a", Granted::Stated(secs(7_200 - at))),
        _ => ("b", Granted::Stated(secs(7_200))),
    });
    world.until(6_000).await;
    assert_eq!((world.end(), world.status().refresh), (7_200, RefreshState::Ok));
    let first = world.life().generation;
    world.until(7_150).await;
    assert!(world.life().generation > first);
    assert_eq!(world.status().refresh, RefreshState::Ok);
    assert!((5..30).contains(&world.asked()), "{}", world.asked());
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_was_cut_short_is_dead_when_its_upstream_says() {
    let world = World::new(|at| match at {
        0 => ("a", Granted::Stated(secs(3_600))),
        1..2_000 => ("a", Granted::Stated(secs(2_000 - at))),
        _ => ("b", Granted::Stated(secs(3_600))),
    });
    world.until(1).await;
    assert_eq!(world.end(), 3_600);
    let first = world.life().generation;
    world.until(1_900).await;
    let told = world.status();
    assert_eq!((world.end(), world.life().generation), (2_000, first));
    assert!(told.last_fault.is_some(), "it is no success: {told:?}");
    world.until(2_100).await;
    assert!(world.life().generation > first && world.end() > 5_000);
}

/// Prepares a grant as its text and the key that is in force.
struct Keyed(Arc<Mutex<&'static str>>);

impl Prepare for Keyed {
    type Ready = String;
    type Error = &'static str;

    fn prepare(&self, grant: &Grant) -> Result<String, &'static str> {
        Ok(format!("{} by {}", grant.content().as_str(), self.0.lock().unwrap()))
    }
}

/// Answers once, then never.
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
async fn a_new_key_signs_around_the_present_grant_also_while_the_upstream_hangs() {
    let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
    let key = Arc::new(Mutex::new("old"));
    let profile = ProfileName::parse("live").unwrap();
    let name = GrantName { profile, resource: Resource::parse("a").unwrap() };
    let changes = Arc::new(watch::Sender::new(()));
    let (publisher, reader) = cell(name, secs(2), Keyed(Arc::clone(&key)), changes);
    let policy = Policy {
        lives: Lives::Asked(secs(60)),
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
    assert!(reader.view().status().attempting, "the second was during an attempt");
}

#[tokio::test(start_paused = true)]
async fn whoever_orders_an_attempt_is_answered_with_the_state_after_it() {
    let world = World::new(|at| (if at < 30 { "a" } else { "b" }, Granted::Stated(secs(3_600))));
    world.until(20).await;
    let view = world.reader.view();
    let _ = view.refresh().now_or_never();
    world.until(40).await;
    assert_eq!(world.asked(), 1, "nobody waits for that one");
    let first = world.life().generation;
    let (one, other) = tokio::join!(view.refresh(), view.refresh());
    assert_eq!((one, other), (Some(Ordered::Attempted), Some(Ordered::Attempted)));
    assert!(world.life().generation > first);
    assert_eq!(world.asked(), 2, "one attempt for both");
    let again = view.refresh().await;
    assert_eq!(again, Some(Ordered::Held(world.start + secs(45))));
    world.until(60).await;
    assert_eq!(world.asked(), 2);
}

/// Holds each attempt for a refused credential, an ordered one excepted, and takes a second.
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
async fn an_order_during_a_planned_attempt_that_sends_nothing_gets_an_attempt_of_its_own() {
    let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
    let asked = Arc::<Mutex<Vec<_>>>::default();
    let source = HoldsUnlessOrdered(clock.clone(), Arc::clone(&asked));
    let World { reader, .. } = World::of(clock, source);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(*asked.lock().unwrap(), [Urgency::Lapsed]);
    let view = reader.view();
    assert_eq!(view.refresh().await, Some(Ordered::Attempted));
    assert_eq!(*asked.lock().unwrap(), [Urgency::Lapsed, Urgency::Ordered]);
    assert!(reader.view().status().life.is_some());
}
