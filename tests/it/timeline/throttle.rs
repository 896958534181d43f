//! An upstream that throttles the account.

use grantmint::{
    grant::RefreshState,
    mint::{Limits, minter::Cause},
};
use tokio::time::sleep;

use super::fixture::{Fixture, NEVER, Response, gaps, grant, millis, secs, status, throttled};

#[tokio::test(start_paused = true)]
async fn retry_after_allows_one_last_attempt_before_expiry() {
    // The last attempt fails in every possible way; none of them causes an earlier attempt.
    let failures: [fn() -> Response; 5] = [
        || throttled(secs(60)),
        || status(429),
        || status(500),
        || Response::Hang,
        || Response::Panic,
    ];
    for last in failures {
        let fixture = Fixture::new(move |ask| match ask.number {
            2 => throttled(secs(60)),
            3 => last(),
            _ => grant(),
        });
        let requested = fixture.requested(2).await;
        assert_eq!(fixture.status().refresh, RefreshState::Throttled);
        fixture.until(millis(54_900)).await;
        assert_eq!(fixture.requests().len(), if requested > millis(54_900) { 3 } else { 2 });
        assert_eq!(
            fixture.without_token_until(millis(57_900)).await,
            NEVER,
            "calls failed before the expiry"
        );
        let requests = fixture.requests();
        assert_eq!(requests.len(), 3, "{requests:?}");
        assert!(requests[2] >= secs(55) && requests[2] <= millis(55_002), "{requests:?}");

        // Repeated calls do not shorten it.
        fixture.until(secs(58)).await;
        fixture.without_token_until(requested + secs(59)).await;
        assert_eq!(fixture.requests().len(), 3);
        assert_eq!(fixture.cause().await, Some(Cause::UpstreamThrottled));
        let next = fixture.requested(4).await;
        assert!(
            next >= requested + secs(60) && next < secs(55) + secs(61) + millis(600),
            "{next:?}"
        );
        fixture.mint().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn early_retry_after_needs_no_last_attempt() {
    let fixture = Fixture::new(|ask| if ask.number == 2 { throttled(secs(3)) } else { grant() });
    fixture.requested(2).await;
    sleep(secs(10)).await;
    let requests = fixture.requests();
    assert_eq!(requests.len(), 3);
    let waited = gaps(&requests)[1];
    assert!(waited >= secs(3) && waited <= millis(3_530), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_capped_at_a_minute() {
    let fixture =
        Fixture::new(|ask| if ask.number == 1 { throttled(secs(86_400)) } else { grant() });
    let next = fixture.requested(2).await;
    assert!(next >= secs(60) && next <= millis(60_530), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn zero_retry_after_keeps_the_minimum_back_off() {
    let fixture = Fixture::new(|ask| if ask.number < 20 { throttled(secs(0)) } else { grant() });
    fixture.requested(20).await;
    let requests = fixture.requests();
    assert!(gaps(&requests).iter().all(|gap| *gap >= millis(269)), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn repeated_zero_retry_after_still_backs_off() {
    let fixture = Fixture::new(|_| throttled(secs(0)));
    fixture.until(secs(300)).await;
    let unasked = fixture.requests().len();
    assert!(unasked < 60, "{unasked} requests in 300 s");

    // With many resources and continuous calls, requests are the account's back-off apart.
    let fixture = Fixture::with(20, 7, Limits::default(), |_| throttled(secs(0)));
    for _ in 0..600 {
        let _ = fixture.mint().await;
        sleep(millis(100)).await;
    }
    let bursts = fixture.requests_between(secs(30), secs(60)).len();
    assert!(bursts <= 200, "{bursts} requests in 30 s");
}

#[tokio::test(start_paused = true)]
async fn delayed_attempts_do_not_all_start_together() {
    let fixture = Fixture::with(8, 7, Limits::default(), |ask| {
        if ask.at < secs(30) { throttled(secs(30)) } else { grant() }
    });
    fixture.until(secs(31)).await;
    let starts = fixture.requests_between(secs(30), secs(31));
    assert_eq!(starts.len(), 8);
    let took = starts[7].saturating_sub(starts[0]);
    assert!(took > millis(200) && took <= millis(520), "{starts:?}");
}

#[tokio::test(start_paused = true)]
async fn one_throttled_resource_delays_the_account() {
    let fixture = Fixture::with(3, 7, Limits::default(), |ask| {
        if ask.resource == 0 && ask.at < secs(1) { throttled(secs(40)) } else { grant() }
    });
    sleep(secs(1)).await;
    // All three were sent at once; two got a grant after the 429. That does not lift the account's
    // throttling.
    assert_eq!(fixture.requests().len(), 3);
    fixture.until(secs(40)).await;
    assert_eq!(fixture.requests().len(), 3);
    for resource in [1, 2] {
        let first = fixture.status_of(resource).life.unwrap();
        assert!(first.left(fixture.clock.now()) > secs(10));
    }
    sleep(secs(20)).await;
    assert!(fixture.requests().iter().skip(3).all(|at| *at >= secs(40)));
    assert!(fixture.requests_for(0).len() >= 2);
}

#[tokio::test(start_paused = true)]
async fn next_attempt_after_a_plain_429_is_when_reported() {
    for seed in 0..20 {
        let limits = Limits::default();
        let fixture = Fixture::with(1, seed, limits, |ask| match ask.number {
            1 | 7.. => grant(),
            _ => status(429),
        });
        for number in 2..7 {
            fixture.requested(number).await;
            let reported = fixture.next_attempt();
            let retried = fixture.requested_at(number + 1).await;
            let late =
                retried.checked_sub(reported).expect("the attempt came before the reported time");
            assert!(late <= millis(2), "seed {seed}: reported {reported:?}, came {retried:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn idle_plain_429_backs_off_further_each_time() {
    let fixture = Fixture::new(|_| status(429));
    fixture.until(secs(300)).await;
    let unasked = fixture.requests().len();
    assert!(unasked < 60, "{unasked} requests in 300 s");
    // The retry hint of a caller is shorter than that.
    let unserved = fixture.mint().await.err().unwrap();
    assert_eq!(unserved.cause, Cause::UpstreamThrottled);
    assert!(unserved.retry_in <= millis(2_500), "{:?}", unserved.retry_in);
    fixture.requested(unasked + 1).await;
    assert!(fixture.elapsed() <= secs(303));
}

#[tokio::test(start_paused = true)]
async fn plain_429_delays_the_account_for_the_back_off() {
    let fixture = Fixture::with(2, 7, Limits::default(), |ask| {
        if (30..33).contains(&ask.at.as_secs()) { status(429) } else { grant() }
    });
    sleep(secs(120)).await;
    let answered = fixture.requests_between(secs(30), secs(36));
    assert!(gaps(&answered).iter().all(|gap| *gap >= millis(250)), "{answered:?}");
    for resource in [0, 1] {
        assert_eq!(fixture.status_of(resource).refresh, RefreshState::Ok);
    }

    let fixture = Fixture::new(|ask| if ask.number < 3 { status(429) } else { grant() });
    sleep(millis(100)).await;
    assert_eq!(fixture.cause().await, Some(Cause::UpstreamThrottled));
    let without = fixture.without_token_until(secs(10)).await;
    assert!(*without.last().unwrap() < secs(5), "{without:?}");
}
