//! Attempts that fail in ways that heal by themselves.

use std::time::Duration;

use grantmint::{
    clock::WallTime,
    grant::{FaultClass, GrantState, RefreshState},
    mint::{Limits, minter::Cause},
};
use tokio::time::sleep;

use super::world::{Answer, NEVER, World, gaps, grant, millis, secs, status};

#[tokio::test(start_paused = true)]
async fn failed_refresh_changes_nothing_while_the_grant_is_live() {
    let world = World::new(|ask| if ask.number == 1 { grant() } else { status(500) });
    world.requested(1).await;
    let before = world.mint().await.unwrap();

    // Up to a moment before its end of life at 58 s, every call is served as before.
    assert_eq!(world.without_token_until(millis(57_900)).await, NEVER);
    assert!(world.requests().len() > 3, "it is retried");
    let after = world.mint().await.unwrap();
    assert_eq!(after.terms.generation, before.terms.generation);
    let told = world.status();
    assert_eq!(told.refresh, RefreshState::Retrying);
    assert_eq!(told.last_fault.unwrap().class, FaultClass::Transient);
    assert_eq!(told.consecutive_failures as usize, world.requests().len() - 1);
}

#[tokio::test(start_paused = true)]
async fn expired_grant_is_never_returned() {
    let world = World::new(|ask| if ask.number == 1 { grant() } else { status(503) });
    world.until(millis(57_999)).await;
    world.mint().await.unwrap();
    world.until(secs(58)).await;
    // It was asked for at the start, and lasts 60 s.
    let end = WallTime::from_unix_seconds(1_700_000_060);
    for _ in 0..200 {
        assert_eq!(world.cause().await, Some(Cause::GrantExpired(end)), "{:?}", world.elapsed());
        sleep(millis(97)).await;
    }
    assert!(!world.is_live());
}

#[tokio::test(start_paused = true)]
async fn calls_before_the_first_grant_get_grant_pending() {
    let world = World::new(|ask| if ask.at < secs(5) { status(500) } else { grant() });
    sleep(millis(300)).await;
    assert_eq!(world.cause().await, Some(Cause::GrantPending));
    assert_eq!(world.status().state(world.clock.now(), secs(2)), GrantState::Pending);
    // Somebody asks, so it is there 2 s and an attempt after the upstream is well.
    let without = world.without_token_until(secs(12)).await;
    assert!(*without.last().unwrap() <= millis(7_200), "{without:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_are_released_when_the_grant_is_published() {
    let world =
        World::new(
            |ask| if ask.number == 1 || ask.at >= secs(100) { grant() } else { status(500) },
        );
    let mut recovered = None;
    world.until(millis(99_000)).await;
    while recovered.is_none() {
        match world.mint_waiting(secs(10)).await {
            Ok(_) => recovered = Some(world.elapsed()),
            Err(_) => sleep(millis(50)).await,
        }
    }
    let good = world.requests().into_iter().find(|at| *at >= secs(100)).unwrap();
    assert!(good <= secs(102), "asked again 2 s after the last failure: {good:?}");
    assert_eq!(recovered, Some(good + millis(100)), "released at the publish itself");
    assert_eq!(world.status().refresh, RefreshState::Ok);
    assert_eq!(world.status().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_keep_the_back_off_short() {
    let world = World::new(|ask| if ask.number == 1 { grant() } else { status(500) });
    world.until(secs(300)).await;
    let from = world.elapsed();
    // One call that waits its 10 s, and asks for nothing else meanwhile.
    assert!(world.mint_waiting(secs(10)).await.is_err());
    let seen = world.requests_between(from, from + secs(10));
    assert!(seen.len() >= 4, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn hanging_upstream_gets_three_attempts_before_expiry() {
    for seed in 0..60 {
        let world = World::with(1, seed, Limits::default(), |ask| {
            if ask.number <= 2 { grant() } else { Answer::Hang }
        });
        let anchor = world.requested(2).await;
        sleep(secs(60)).await;
        let point = gaps(&world.requests())[1];
        assert!(point >= millis(44_900) && point <= millis(50_010), "{point:?}");
        let full = world.requests_between(anchor + secs(40), anchor + secs(56)).len();
        assert!(full >= 3, "seed {seed}: {full} attempts from {point:?} on");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_250_ms_apart_and_back_off_when_idle() {
    let mut widened = Duration::ZERO;
    for seed in 0..10 {
        let world = World::with(1, seed, Limits::default(), |ask| {
            if ask.number == 1 { grant() } else { status(500) }
        });
        sleep(secs(1_000)).await;
        let requests = world.requests();
        let gaps = gaps(&requests);
        assert!(gaps.iter().all(|gap| *gap >= millis(269)), "20 ms and the floor: {gaps:?}");
        let live = requests.iter().filter(|at| **at < secs(58)).count();
        assert!(gaps[1..live].iter().all(|gap| *gap <= millis(2_060)), "while it lives: {gaps:?}");
        assert!(gaps.iter().skip(1).all(|gap| *gap <= millis(30_060)), "{gaps:?}");
        widened += gaps[gaps.len() - 10..].iter().sum::<Duration>() / 10;
    }
    assert!(widened / 10 > secs(5), "it widens: {:?}", widened / 10);
}

#[tokio::test(start_paused = true)]
async fn back_off_is_at_most_two_seconds_under_demand() {
    let world = World::new(|ask| if ask.number == 1 { grant() } else { status(500) });
    world.until(secs(400)).await;
    let without = world.without_token_until(secs(460)).await;
    assert!(without.len() > 100);
    let seen = world.requests_between(secs(403), secs(460));
    // And nobody gets past the floor by asking often.
    let within = millis(269)..=millis(2_040);
    assert!(gaps(&seen).iter().all(|gap| within.contains(gap)), "{seen:?}");
    assert!(seen.len() > 25, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn served_calls_do_not_request_another_refresh() {
    let world = World::new(|ask| {
        if ask.number == 1 || ask.at >= secs(70) {
            Answer::Grant(secs(60), millis(800))
        } else {
            Answer::Hang
        }
    });
    // Calls come every tenth of a second, during the attempt that heals it too.
    world.without_token_until(secs(100)).await;
    let seen = world.requests_between(secs(70), secs(110));
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_source_costs_one_attempt() {
    let world = World::new(|ask| if matches!(ask.number, 2 | 3) { Answer::Panic } else { grant() });
    assert_eq!(world.without_token_until(secs(120)).await.first(), Some(&Duration::ZERO));
    assert_eq!(world.without_token_until(secs(300)).await, NEVER);
    let gaps = gaps(&world.requests());
    assert!(gaps[1] <= secs(2) && gaps[2] <= secs(2), "{gaps:?}");
    assert_eq!(world.status().refresh, RefreshState::Ok);
}

#[tokio::test(start_paused = true)]
async fn grant_expiring_within_the_margin_is_never_published() {
    for life in [Duration::ZERO, millis(500), secs(2)] {
        let world =
            World::new(
                move |ask| {
                    if ask.number == 1 { grant() } else { Answer::Grant(life, millis(100)) }
                },
            );
        let first = {
            world.requested(1).await;
            world.status().life.unwrap().generation
        };
        world.until(millis(57_900)).await;
        assert!(world.requests().len() >= 3);
        assert_eq!(world.mint().await.unwrap().terms.generation, first);
        assert_eq!(world.status().last_fault.unwrap().reason, "GRANT_LIFE_TOO_SHORT");
    }
}

#[tokio::test(start_paused = true)]
async fn grant_expired_on_arrival_does_not_replace_a_live_one() {
    // 2.5 s granted, of which 1 s is gone when it comes: nothing but margin is left.
    let world =
        World::new(
            |ask| {
                if ask.number == 1 { grant() } else { Answer::Grant(millis(2_500), secs(1)) }
            },
        );
    world.requested(1).await;
    assert_eq!(world.without_token_until(millis(57_900)).await, NEVER);
    assert!(world.requests().len() >= 3);
}

#[tokio::test(start_paused = true)]
async fn shorter_grant_refresh_leaves_time_for_three_attempts() {
    for seed in 0..20 {
        let world = World::with(1, seed, Limits::default(), |ask| match ask.number {
            1..=3 => Answer::Grant(secs(15), millis(100)),
            _ => Answer::Hang,
        });
        let anchor = world.requested(3).await;
        sleep(secs(20)).await;
        let requests = world.requests();
        let gaps = gaps(&requests);
        assert!(gaps[1] <= millis(6_510) && gaps[2] <= millis(6_510), "{gaps:?}");
        // End of life is at 13 s: attempts that begin by 11 s are whole.
        let full = world.requests_between(anchor + secs(1), anchor + millis(11_020)).len();
        assert!(full >= 3, "seed {seed}: {requests:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn first_cycle_spreads_from_0_3_to_1() {
    let mut points = Vec::new();
    for seed in 0..200 {
        let world = World::with(1, seed, Limits::default(), |_| grant());
        sleep(secs(51)).await;
        points.push(world.requests()[1]);
    }
    points.sort();
    assert!(points[0] >= secs(15) && points[0] < secs(18), "{:?}", points[0]);
    assert!(points[199] <= millis(50_001) && points[199] > secs(47), "{:?}", points[199]);
    assert!(points[100] > secs(28) && points[100] < secs(37), "{:?}", points[100]);
}

#[tokio::test(start_paused = true)]
async fn next_request_comes_when_reported() {
    let mut flaky = fastrand::Rng::with_seed(3);
    let world = World::new(move |ask| match ask.number {
        1 => grant(),
        _ => match flaky.u8(..4) {
            0 => status(500),
            1 => Answer::Hang,
            2 => super::world::throttled(secs(20)),
            _ => grant(),
        },
    });
    sleep(millis(200)).await;
    for _ in 0..120 {
        let (told, seen) = (world.next_attempt(), world.requests().len());
        assert!(told >= world.elapsed(), "{told:?} is past at {:?}", world.elapsed());
        let at = world.requested_at(seen + 1).await;
        assert!(at >= told && at <= told + millis(3), "told {told:?}, came {at:?}");
        world.settled().await;
    }
}

#[tokio::test(start_paused = true)]
async fn brown_out_fails_under_one_percent_of_calls() {
    let mut dice = fastrand::Rng::with_seed(11);
    let world = World::new(move |ask| {
        let slow = millis(1_900);
        if ask.number == 1 || dice.bool() { Answer::Grant(secs(60), slow) } else { status(500) }
    });
    world.requested(1).await;
    sleep(secs(2)).await;
    let without = world.without_token_until(secs(1_200)).await;
    assert!(without.len() < 120, "{} of 12,000", without.len());
    // 26 grants in that time, each at the second request in the mean.
    let requests = world.requests().len();
    assert!((40..=70).contains(&requests), "{requests}");
}
