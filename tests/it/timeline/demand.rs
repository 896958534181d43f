//! Calls that the present grant does not serve: what they pull forward, and how they wait.

use std::{sync::Arc, time::Duration};

use grantmint::{
    drain::Phase,
    mint::{
        Limits,
        minter::{Cause, Unserved},
        options::Options,
        terms::ExpiryPolicy,
    },
};
use tokio::time::{Instant, sleep};

use super::world::{Answer, World, gaps, grant, millis, secs, status, throttled};

/// More than is left of a grant that is five seconds old.
fn fresh() -> Options<'static> {
    Options { min_remaining: secs(54), max_wait: Some(secs(10)), ..Options::default() }
}

fn at_once() -> Options<'static> {
    Options { max_wait: Some(Duration::ZERO), ..fresh() }
}

#[tokio::test(start_paused = true)]
async fn unmet_call_pulls_the_refresh_to_5_s_after_the_last() {
    let world = World::new(|_| grant());
    world.until(millis(4_500)).await;
    let minted = world.mint_with(&fresh(), None).await.unwrap();
    assert!(minted.terms.use_within >= secs(54));
    let requests = world.requests();
    assert!(requests[1] >= secs(5) && requests[1] <= millis(5_002), "{requests:?}");

    // Ten such calls a second get one refresh per five seconds.
    for _ in 0..600 {
        let _ = world.mint_with(&at_once(), None).await;
        sleep(millis(100)).await;
    }
    let requests = world.requests();
    assert!(gaps(&requests).iter().all(|gap| *gap >= secs(5)), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn unmet_requirement_is_reported_with_a_live_grant() {
    let world = World::new(|_| grant());
    world.until(millis(4_500)).await;
    let Unserved { cause, retry_in } = world.mint_with(&at_once(), None).await.err().unwrap();
    assert_eq!(cause, Cause::GrantTooShort);
    // The pulled attempt's start, and what the first took.
    assert!(retry_in >= millis(600) && retry_in <= millis(610), "{retry_in:?}");
    world.mint().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn retry_hint_includes_the_duration_of_an_attempt() {
    let world = World::new(|_| Answer::Grant(secs(60), millis(1_500)));
    world.requested(2).await;
    world.settled().await;
    sleep(secs(30)).await;
    let Unserved { cause, retry_in } = world.mint_with(&at_once(), None).await.err().unwrap();
    assert_eq!(cause, Cause::GrantTooShort);
    assert!(retry_in >= millis(1_500) && retry_in <= millis(1_510), "{retry_in:?}");
    // The attempt that this one asked for is under way.
    sleep(secs(1)).await;
    let Unserved { retry_in, .. } = world.mint_with(&at_once(), None).await.err().unwrap();
    assert!(retry_in >= millis(490) && retry_in <= millis(510), "{retry_in:?}");
    world.mint_with(&Options { max_wait: Some(millis(600)), ..fresh() }, None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn demand_respects_retry_after_and_probe_times() {
    let answers: [fn() -> Answer; 3] = [|| throttled(secs(30)), || status(404), || status(401)];
    for answer in answers {
        let world = World::new(move |ask| if ask.number == 1 { grant() } else { answer() });
        let sent = |world: &World| world.requests().len();
        world.until(secs(5)).await;
        let quiet_from = loop {
            let _ = world.mint_with(&at_once(), None).await;
            let told = world.next_attempt();
            if told > world.elapsed() + secs(20) {
                break world.elapsed();
            }
            sleep(millis(50)).await;
        };
        let seen = sent(&world);
        for _ in 0..250 {
            assert!(world.mint_with(&at_once(), None).await.is_err());
            sleep(millis(100)).await;
        }
        assert!(world.elapsed() >= quiet_from + secs(25));
        assert_eq!(sent(&world), seen);
    }
}

#[tokio::test(start_paused = true)]
async fn call_waits_no_longer_than_max_wait() {
    // The one attempt after the grant's end hangs, so that it could end at any time.
    let world = World::new(|ask| if ask.number == 1 { grant() } else { Answer::Hang });
    world.until(secs(70)).await;

    let cases = [
        (Some(Duration::ZERO), None, Duration::ZERO),
        (Some(millis(700)), None, millis(700)),
        (None, None, secs(2)),
        (Some(secs(10)), None, secs(10)),
        (Some(secs(3_600)), None, secs(10)),
        (Some(secs(10)), Some(secs(3)), millis(2_950)),
        (None, Some(millis(600)), millis(550)),
        (None, Some(millis(10)), Duration::ZERO),
    ];
    for (max_wait, deadline, longest) in cases {
        // From the start of an attempt, which is an end that is always in reach.
        world.settled().await;
        let _ = world.mint().await;
        world.requested_at(world.requests().len() + 1).await;
        let options = Options { max_wait, ..Options::default() };
        let from = Instant::now();
        let unserved = world.mint_with(&options, deadline.map(|d| from + d)).await.err().unwrap();
        assert!(matches!(unserved.cause, Cause::GrantExpired(_)));
        let waited = from.elapsed();
        let next = unserved.retry_in;
        assert!(waited <= longest + millis(1), "{max_wait:?} {deadline:?}: {waited:?}");
        // It ends sooner only where the next attempt could not have ended in time.
        assert!(waited + next + millis(2) >= longest, "{max_wait:?} {deadline:?}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn call_does_not_wait_if_no_attempt_can_finish_in_time() {
    let world = World::new(|ask| if ask.number == 1 { grant() } else { throttled(secs(60)) });
    world.until(secs(60)).await;
    let from = Instant::now();
    let unserved = world.mint_waiting(secs(10)).await.err().unwrap();
    assert_eq!(unserved.cause, Cause::UpstreamThrottled);
    assert_eq!(from.elapsed(), Duration::ZERO);
    // A tenth of a second is what an attempt takes here.
    assert_eq!(world.elapsed() + unserved.retry_in, world.next_attempt() + millis(100));
}

#[tokio::test(start_paused = true)]
async fn waiter_over_the_limit_is_refused_at_once() {
    let world = World::with(1, 7, Limits::default(), |ask| {
        if ask.number == 1 { Answer::Grant(secs(60), millis(1_500)) } else { grant() }
    });
    let world = Arc::new(world);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..4_096 {
        let world = Arc::clone(&world);
        waiting.spawn(async move { world.mint_waiting(secs(5)).await.is_ok() });
    }
    sleep(millis(100)).await;
    let from = Instant::now();
    let unserved = world.mint_waiting(secs(5)).await.err().unwrap();
    assert_eq!((unserved.cause, from.elapsed()), (Cause::GrantPending, Duration::ZERO));

    // Everybody who waited is served by the one publish, and the places are free again.
    let served = waiting.join_all().await;
    assert!(served.len() == 4_096 && served.into_iter().all(|served| served));
    assert_eq!(world.elapsed(), millis(1_500));
    assert_eq!(world.requests().len(), 1);
    sleep(secs(10)).await;
    assert_eq!(world.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn refused_player_gets_the_next_generation() {
    let world = World::new(|_| grant());
    world.until(secs(2)).await;
    let refused = world.mint().await.unwrap().terms.generation.get();
    let after = |max_wait| Options {
        after_generation: refused,
        max_wait: Some(max_wait),
        ..Options::default()
    };
    let unserved = world.mint_with(&after(secs(1)), None).await.err().unwrap();
    assert_eq!(unserved.cause, Cause::GrantNotNewer);
    let minted = world.mint_with(&after(secs(5)), None).await.unwrap();
    assert!(minted.terms.generation.get() > refused);
    assert!(world.requests()[1] >= secs(5) && world.elapsed() <= millis(5_110));
}

#[tokio::test(start_paused = true)]
async fn full_ttl_requirement_waits_for_a_long_enough_grant() {
    let world = World::new(|_| grant());
    world.until(secs(4)).await;
    let full = Options {
        ttl: Some(secs(58)),
        policy: Some(ExpiryPolicy::RequireFullTtl),
        max_wait: Some(secs(5)),
        ..Options::default()
    };
    let minted = world.mint_with(&full, None).await.unwrap();
    assert_eq!(world.requests().len(), 2);
    let now = world.clock.now().wall;
    assert_eq!(minted.terms.expire.unix_seconds(), (now + secs(58)).unix_seconds());
    assert_eq!(minted.terms.use_within, secs(56));
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_get_draining() {
    let world = Arc::new(World::new(|_| Answer::Hang));
    let waiting = Arc::clone(&world);
    let call = tokio::spawn(async move { waiting.mint_waiting(secs(10)).await.err() });
    sleep(millis(100)).await;
    world.drainer.advance(Phase::Draining);
    let unserved = call.await.unwrap().unwrap();
    assert_eq!(unserved.cause, Cause::Draining);
    assert_eq!(world.elapsed(), millis(100));
}
