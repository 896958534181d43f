//! Calls that the current grant cannot serve: how they pull refreshes forward and how they wait.

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

use super::fixture::{Fixture, Response, gaps, grant, millis, secs, status, throttled};

/// More than remains of a grant that is five seconds old.
fn fresh() -> Options<'static> {
    Options { min_remaining: secs(54), max_wait: Some(secs(10)), ..Options::default() }
}

fn at_once() -> Options<'static> {
    Options { max_wait: Some(Duration::ZERO), ..fresh() }
}

#[tokio::test(start_paused = true)]
async fn unmet_call_pulls_the_refresh_to_5_s_after_the_last() {
    let fixture = Fixture::new(|_| grant());
    fixture.until(millis(4_500)).await;
    let minted = fixture.mint_with(&fresh(), None).await.unwrap();
    assert!(minted.terms.use_within >= secs(54));
    let requests = fixture.requests();
    assert!(requests[1] >= secs(5) && requests[1] <= millis(5_002), "{requests:?}");

    // Ten such calls a second cause one refresh per five seconds.
    for _ in 0..600 {
        let _ = fixture.mint_with(&at_once(), None).await;
        sleep(millis(100)).await;
    }
    let requests = fixture.requests();
    assert!(gaps(&requests).iter().all(|gap| *gap >= secs(5)), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn unmet_requirement_is_reported_with_a_live_grant() {
    let fixture = Fixture::new(|_| grant());
    fixture.until(millis(4_500)).await;
    let Unserved { cause, retry_in } = fixture.mint_with(&at_once(), None).await.err().unwrap();
    assert_eq!(cause, Cause::GrantTooShort);
    // The start of the pulled attempt, and the duration of the first.
    assert!(retry_in >= millis(600) && retry_in <= millis(610), "{retry_in:?}");
    fixture.mint().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn retry_hint_includes_the_duration_of_an_attempt() {
    let fixture = Fixture::new(|_| Response::Grant(secs(60), millis(1_500)));
    fixture.requested(2).await;
    fixture.settled().await;
    sleep(secs(30)).await;
    let Unserved { cause, retry_in } = fixture.mint_with(&at_once(), None).await.err().unwrap();
    assert_eq!(cause, Cause::GrantTooShort);
    assert!(retry_in >= millis(1_500) && retry_in <= millis(1_510), "{retry_in:?}");
    // The attempt that this call requested is in flight.
    sleep(secs(1)).await;
    let Unserved { retry_in, .. } = fixture.mint_with(&at_once(), None).await.err().unwrap();
    assert!(retry_in >= millis(490) && retry_in <= millis(510), "{retry_in:?}");
    fixture.mint_with(&Options { max_wait: Some(millis(600)), ..fresh() }, None).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn demand_respects_retry_after_and_probe_times() {
    let answers: [fn() -> Response; 3] = [|| throttled(secs(30)), || status(404), || status(401)];
    for answer in answers {
        let fixture = Fixture::new(move |ask| if ask.number == 1 { grant() } else { answer() });
        let sent = |fixture: &Fixture| fixture.requests().len();
        fixture.until(secs(5)).await;
        let quiet_from = loop {
            let _ = fixture.mint_with(&at_once(), None).await;
            let reported = fixture.next_attempt();
            if reported > fixture.elapsed() + secs(20) {
                break fixture.elapsed();
            }
            sleep(millis(50)).await;
        };
        let seen = sent(&fixture);
        for _ in 0..250 {
            assert!(fixture.mint_with(&at_once(), None).await.is_err());
            sleep(millis(100)).await;
        }
        assert!(fixture.elapsed() >= quiet_from + secs(25));
        assert_eq!(sent(&fixture), seen);
    }
}

#[tokio::test(start_paused = true)]
async fn call_waits_no_longer_than_max_wait() {
    // The single attempt after the expiry hangs, so that it could finish at any time.
    let fixture = Fixture::new(|ask| if ask.number == 1 { grant() } else { Response::Hang });
    fixture.until(secs(70)).await;

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
        // From the start of an attempt, whose end is always within reach.
        fixture.settled().await;
        let _ = fixture.mint().await;
        fixture.requested_at(fixture.requests().len() + 1).await;
        let options = Options { max_wait, ..Options::default() };
        let from = Instant::now();
        let unserved = fixture.mint_with(&options, deadline.map(|d| from + d)).await.err().unwrap();
        assert!(matches!(unserved.cause, Cause::GrantExpired(_)));
        let waited = from.elapsed();
        let next = unserved.retry_in;
        assert!(waited <= longest + millis(1), "{max_wait:?} {deadline:?}: {waited:?}");
        // The wait is shorter only if the next attempt could not finish in time.
        assert!(waited + next + millis(2) >= longest, "{max_wait:?} {deadline:?}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn call_does_not_wait_if_no_attempt_can_finish_in_time() {
    let fixture = Fixture::new(|ask| if ask.number == 1 { grant() } else { throttled(secs(60)) });
    fixture.until(secs(60)).await;
    let from = Instant::now();
    let unserved = fixture.mint_waiting(secs(10)).await.err().unwrap();
    assert_eq!(unserved.cause, Cause::UpstreamThrottled);
    assert_eq!(from.elapsed(), Duration::ZERO);
    // An attempt takes a tenth of a second here.
    assert_eq!(fixture.elapsed() + unserved.retry_in, fixture.next_attempt() + millis(100));
}

#[tokio::test(start_paused = true)]
async fn waiter_over_the_limit_is_refused_at_once() {
    let fixture = Fixture::with(1, 7, Limits::default(), |ask| {
        if ask.number == 1 { Response::Grant(secs(60), millis(1_500)) } else { grant() }
    });
    let fixture = Arc::new(fixture);
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..4_096 {
        let fixture = Arc::clone(&fixture);
        waiting.spawn(async move { fixture.mint_waiting(secs(5)).await.is_ok() });
    }
    sleep(millis(100)).await;
    let from = Instant::now();
    let unserved = fixture.mint_waiting(secs(5)).await.err().unwrap();
    assert_eq!((unserved.cause, from.elapsed()), (Cause::GrantPending, Duration::ZERO));

    // All waiting calls are served by the same publish, and their permits are free again.
    let served = waiting.join_all().await;
    assert!(served.len() == 4_096 && served.into_iter().all(|served| served));
    assert_eq!(fixture.elapsed(), millis(1_500));
    assert_eq!(fixture.requests().len(), 1);
    sleep(secs(10)).await;
    assert_eq!(fixture.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn refused_player_gets_the_next_generation() {
    let fixture = Fixture::new(|_| grant());
    fixture.until(secs(2)).await;
    let refused = fixture.mint().await.unwrap().terms.generation.get();
    let after = |max_wait| Options {
        after_generation: refused,
        max_wait: Some(max_wait),
        ..Options::default()
    };
    let unserved = fixture.mint_with(&after(secs(1)), None).await.err().unwrap();
    assert_eq!(unserved.cause, Cause::GrantNotNewer);
    let minted = fixture.mint_with(&after(secs(5)), None).await.unwrap();
    assert!(minted.terms.generation.get() > refused);
    assert!(fixture.requests()[1] >= secs(5) && fixture.elapsed() <= millis(5_110));
}

#[tokio::test(start_paused = true)]
async fn full_ttl_requirement_waits_for_a_long_enough_grant() {
    let fixture = Fixture::new(|_| grant());
    fixture.until(secs(4)).await;
    let full = Options {
        ttl: Some(secs(58)),
        policy: Some(ExpiryPolicy::RequireFullTtl),
        max_wait: Some(secs(5)),
        ..Options::default()
    };
    let minted = fixture.mint_with(&full, None).await.unwrap();
    assert_eq!(fixture.requests().len(), 2);
    let now = fixture.clock.now().wall;
    assert_eq!(minted.terms.expire.unix_seconds(), (now + secs(58)).unix_seconds());
    assert_eq!(minted.terms.use_within, secs(56));
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_get_draining() {
    let fixture = Arc::new(Fixture::new(|_| Response::Hang));
    let waiting = Arc::clone(&fixture);
    let call = tokio::spawn(async move { waiting.mint_waiting(secs(10)).await.err() });
    sleep(millis(100)).await;
    fixture.drainer.advance(Phase::Draining);
    let unserved = call.await.unwrap().unwrap();
    assert_eq!(unserved.cause, Cause::Draining);
    assert_eq!(fixture.elapsed(), millis(100));
}
