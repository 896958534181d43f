//! An upstream that asks the account to wait.

use grantmint::{
    grant::RefreshState,
    mint::{Limits, minter::Cause},
};
use tokio::time::sleep;

use super::world::{Answer, World, grant, millis, secs, status, throttled};

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_obeyed_with_one_last_try_before_the_end_of_life() {
    // The last try fails in every way that there is; none brings another try sooner.
    let failures: [fn() -> Answer; 5] =
        [|| throttled(secs(60)), || status(429), || status(500), || Answer::Hang, || Answer::Panic];
    for last in failures {
        let world = World::new(move |ask| match ask.number {
            2 => throttled(secs(60)),
            3 => last(),
            _ => grant(),
        });
        let asked = world.requested(2).await;
        assert_eq!(world.status().refresh, RefreshState::Throttled);
        world.until(millis(54_900)).await;
        assert_eq!(world.requests().len(), if asked > millis(54_900) { 3 } else { 2 });
        assert_eq!(world.without_token_until(millis(57_900)).await, [], "served to the end");
        let requests = world.requests();
        assert_eq!(requests.len(), 3, "{requests:?}");
        assert!(requests[2] >= secs(55) && requests[2] <= millis(55_002), "{requests:?}");

        // Asking on and on does not go past it.
        world.until(secs(58)).await;
        world.without_token_until(asked + secs(59)).await;
        assert_eq!(world.requests().len(), 3);
        assert_eq!(world.cause().await, Some(Cause::UpstreamThrottled));
        let next = world.requested(4).await;
        assert!(next >= asked + secs(60) && next < secs(55) + secs(61) + millis(100), "{next:?}");
        world.mint().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_that_ends_before_the_last_try_leaves_that_out() {
    let world = World::new(|ask| if ask.number == 2 { throttled(secs(3)) } else { grant() });
    let asked = world.requested(2).await;
    sleep(secs(10)).await;
    let requests = world.requests();
    assert_eq!(requests.len(), 3);
    let waited = requests[2] - asked;
    assert!(waited >= secs(3) && waited <= millis(3_030), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_is_capped_at_a_minute() {
    let world = World::new(|ask| if ask.number == 1 { throttled(secs(86_400)) } else { grant() });
    let next = world.requested(2).await;
    assert!(next >= secs(60) && next <= millis(60_030), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_of_nothing_still_keeps_the_floor() {
    let world = World::new(|ask| if ask.number < 20 { throttled(secs(0)) } else { grant() });
    world.requested(20).await;
    let requests = world.requests();
    assert!(requests.windows(2).all(|pair| pair[1] - pair[0] >= millis(269)), "{requests:?}");
}

#[tokio::test(start_paused = true)]
async fn the_whole_account_waits_for_what_one_resource_was_asked() {
    let world = World::with(3, 7, Limits::default(), |ask| {
        if ask.resource == 0 && ask.at < secs(1) { throttled(secs(40)) } else { grant() }
    });
    sleep(secs(1)).await;
    // All three were sent at once; two have been answered with a grant after the 429. That
    // does not lift what the account was asked.
    assert_eq!(world.requests().len(), 3);
    world.until(secs(40)).await;
    assert_eq!(world.requests().len(), 3);
    for resource in [1, 2] {
        let first = world.status_of(resource).life.unwrap();
        assert!(first.left(world.clock.now()) > secs(10));
    }
    sleep(secs(20)).await;
    assert!(world.requests().iter().skip(3).all(|at| *at >= secs(40)));
    assert!(world.requests_for(0).len() >= 2);
}

#[tokio::test(start_paused = true)]
async fn after_a_429_without_a_time_the_next_attempt_is_when_it_is_told() {
    for seed in 0..20 {
        let limits = Limits::default();
        let world = World::with(1, seed, limits, |ask| match ask.number {
            1 | 7.. => grant(),
            _ => status(429),
        });
        for number in 2..7 {
            world.requested(number).await;
            let told = world.next_attempt();
            let came = world.requested_at(number + 1).await;
            let late = came - told;
            assert!(late <= millis(2), "seed {seed}: told {told:?}, came {came:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn while_nobody_asks_a_429_without_a_time_is_asked_again_ever_more_seldom() {
    let world = World::new(|_| status(429));
    world.until(secs(300)).await;
    let unasked = world.requests().len();
    assert!(unasked < 60, "{unasked} requests in 300 s");
    // Who asks is not told to wait for that.
    let unserved = world.mint().await.err().unwrap();
    assert_eq!(unserved.cause, Cause::UpstreamThrottled);
    assert!(unserved.retry_in <= millis(2_500), "{:?}", unserved.retry_in);
    world.requested(unasked + 1).await;
    assert!(world.elapsed() <= secs(303));
}

#[tokio::test(start_paused = true)]
async fn a_429_without_a_time_holds_the_account_for_the_back_off() {
    let world = World::with(2, 7, Limits::default(), |ask| {
        if (30..33).contains(&ask.at.as_secs()) { status(429) } else { grant() }
    });
    sleep(secs(120)).await;
    let answered: Vec<_> = world.requests_between(secs(30), secs(36));
    assert!(answered.windows(2).all(|pair| pair[1] - pair[0] >= millis(250)), "{answered:?}");
    for resource in [0, 1] {
        assert_eq!(world.status_of(resource).refresh, RefreshState::Ok);
    }

    let world = World::new(|ask| if ask.number < 3 { status(429) } else { grant() });
    sleep(millis(100)).await;
    assert_eq!(world.cause().await, Some(Cause::UpstreamThrottled));
    let without = world.without_token_until(secs(10)).await;
    assert!(*without.last().unwrap() < secs(5), "{without:?}");
}
