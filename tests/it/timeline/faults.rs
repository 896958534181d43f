//! Attempts with transient failures.

use std::time::Duration;

use grantmint::{
    clock::WallTime,
    grant::{FaultClass, GrantState, RefreshState},
    mint::{Limits, minter::Cause},
};
use tokio::time::sleep;

use super::fixture::{Fixture, NEVER, Response, gaps, grant, millis, secs, status};

#[tokio::test(start_paused = true)]
async fn failed_refresh_changes_nothing_while_the_grant_is_live() {
    let fixture = Fixture::new(|ask| if ask.number == 1 { grant() } else { status(500) });
    fixture.requested(1).await;
    let before = fixture.mint().await.unwrap();

    // Until just before its expiry at 58 s, every call is served as before.
    assert_eq!(fixture.without_token_until(millis(57_900)).await, NEVER);
    assert!(fixture.requests().len() > 3, "there were no retries");
    let after = fixture.mint().await.unwrap();
    assert_eq!(after.terms.generation, before.terms.generation);
    let reported = fixture.status();
    assert_eq!(reported.refresh, RefreshState::Retrying);
    assert_eq!(reported.last_fault.unwrap().class, FaultClass::Transient);
    assert_eq!(reported.consecutive_failures as usize, fixture.requests().len() - 1);
}

#[tokio::test(start_paused = true)]
async fn expired_grant_is_never_returned() {
    let fixture = Fixture::new(|ask| if ask.number == 1 { grant() } else { status(503) });
    fixture.until(millis(57_999)).await;
    fixture.mint().await.unwrap();
    fixture.until(secs(58)).await;
    // It was requested at the start and lives 60 s.
    let end = WallTime::from_unix_seconds(1_700_000_060);
    for _ in 0..200 {
        assert_eq!(
            fixture.cause().await,
            Some(Cause::GrantExpired(end)),
            "{:?}",
            fixture.elapsed()
        );
        sleep(millis(97)).await;
    }
    assert!(!fixture.is_live());
}

#[tokio::test(start_paused = true)]
async fn calls_before_the_first_grant_get_grant_pending() {
    let fixture = Fixture::new(|ask| if ask.at < secs(5) { status(500) } else { grant() });
    sleep(millis(300)).await;
    assert_eq!(fixture.cause().await, Some(Cause::GrantPending));
    assert_eq!(fixture.status().state(fixture.clock.now(), secs(2)), GrantState::Pending);
    // With demand, the grant is available 2 s and an attempt after the upstream recovers.
    let without = fixture.without_token_until(secs(12)).await;
    assert!(*without.last().unwrap() <= millis(7_200), "{without:?}");
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_are_released_when_the_grant_is_published() {
    let fixture =
        Fixture::new(
            |ask| if ask.number == 1 || ask.at >= secs(100) { grant() } else { status(500) },
        );
    let mut recovered = None;
    fixture.until(millis(99_000)).await;
    while recovered.is_none() {
        match fixture.mint_waiting(secs(10)).await {
            Ok(_) => recovered = Some(fixture.elapsed()),
            Err(_) => sleep(millis(50)).await,
        }
    }
    let good = fixture.requests().into_iter().find(|at| *at >= secs(100)).unwrap();
    assert!(good <= secs(102), "the retry came later than 2 s after the last failure: {good:?}");
    assert_eq!(recovered, Some(good + millis(100)), "not released at the publish");
    assert_eq!(fixture.status().refresh, RefreshState::Ok);
    assert_eq!(fixture.status().consecutive_failures, 0);
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_keep_the_back_off_short() {
    let fixture = Fixture::new(|ask| if ask.number == 1 { grant() } else { status(500) });
    fixture.until(secs(300)).await;
    let from = fixture.elapsed();
    // One call waits its 10 s, and nothing else is requested meanwhile.
    assert!(fixture.mint_waiting(secs(10)).await.is_err());
    let seen = fixture.requests_between(from, from + secs(10));
    assert!(seen.len() >= 4, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn hanging_upstream_gets_three_attempts_before_expiry() {
    for seed in 0..60 {
        let fixture = Fixture::with(1, seed, Limits::default(), |ask| {
            if ask.number <= 2 { grant() } else { Response::Hang }
        });
        let anchor = fixture.requested(2).await;
        sleep(secs(60)).await;
        let point = gaps(&fixture.requests())[1];
        assert!(point >= millis(44_900) && point <= millis(50_010), "{point:?}");
        let full = fixture.requests_between(anchor + secs(40), anchor + secs(56)).len();
        assert!(full >= 3, "seed {seed}: {full} attempts from {point:?} on");
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_250_ms_apart_and_back_off_when_idle() {
    let mut widened = Duration::ZERO;
    for seed in 0..10 {
        let fixture = Fixture::with(1, seed, Limits::default(), |ask| {
            if ask.number == 1 { grant() } else { status(500) }
        });
        sleep(secs(1_000)).await;
        let requests = fixture.requests();
        let gaps = gaps(&requests);
        assert!(
            gaps.iter().all(|gap| *gap >= millis(269)),
            "shorter than 20 ms and the minimum: {gaps:?}"
        );
        let live = requests.iter().filter(|at| **at < secs(58)).count();
        assert!(
            gaps[1..live].iter().all(|gap| *gap <= millis(2_060)),
            "too long while the grant is live: {gaps:?}"
        );
        assert!(gaps.iter().skip(1).all(|gap| *gap <= millis(30_060)), "{gaps:?}");
        widened += gaps[gaps.len() - 10..].iter().sum::<Duration>() / 10;
    }
    assert!(widened / 10 > secs(5), "the back-off does not grow: {:?}", widened / 10);
}

#[tokio::test(start_paused = true)]
async fn back_off_is_at_most_two_seconds_under_demand() {
    let fixture = Fixture::new(|ask| if ask.number == 1 { grant() } else { status(500) });
    fixture.until(secs(400)).await;
    let without = fixture.without_token_until(secs(460)).await;
    assert!(without.len() > 100);
    let seen = fixture.requests_between(secs(403), secs(460));
    // Frequent calls do not bypass the minimum.
    let within = millis(269)..=millis(2_040);
    assert!(gaps(&seen).iter().all(|gap| within.contains(gap)), "{seen:?}");
    assert!(seen.len() > 25, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn served_calls_do_not_request_another_refresh() {
    let fixture = Fixture::new(|ask| {
        if ask.number == 1 || ask.at >= secs(70) {
            Response::Grant(secs(60), millis(800))
        } else {
            Response::Hang
        }
    });
    // Calls come every tenth of a second, also during the attempt that recovers.
    fixture.without_token_until(secs(100)).await;
    let seen = fixture.requests_between(secs(70), secs(110));
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn panic_in_the_source_costs_one_attempt() {
    let fixture =
        Fixture::new(|ask| if matches!(ask.number, 2 | 3) { Response::Panic } else { grant() });
    assert_eq!(fixture.without_token_until(secs(120)).await.first(), Some(&Duration::ZERO));
    assert_eq!(fixture.without_token_until(secs(300)).await, NEVER);
    let gaps = gaps(&fixture.requests());
    assert!(gaps[1] <= secs(2) && gaps[2] <= secs(2), "{gaps:?}");
    assert_eq!(fixture.status().refresh, RefreshState::Ok);
}

#[tokio::test(start_paused = true)]
async fn grant_expiring_within_the_margin_is_never_published() {
    for life in [Duration::ZERO, millis(500), secs(2)] {
        let fixture = Fixture::new(move |ask| {
            if ask.number == 1 { grant() } else { Response::Grant(life, millis(100)) }
        });
        let first = {
            fixture.requested(1).await;
            fixture.status().life.unwrap().generation
        };
        fixture.until(millis(57_900)).await;
        assert!(fixture.requests().len() >= 3);
        assert_eq!(fixture.mint().await.unwrap().terms.generation, first);
        assert_eq!(fixture.status().last_fault.unwrap().reason, "GRANT_LIFE_TOO_SHORT");
    }
}

#[tokio::test(start_paused = true)]
async fn grant_expired_on_arrival_does_not_replace_a_live_one() {
    // A grant of 2.5 s, of which 1 s has passed on arrival: only the margin remains.
    let fixture = Fixture::new(|ask| {
        if ask.number == 1 { grant() } else { Response::Grant(millis(2_500), secs(1)) }
    });
    fixture.requested(1).await;
    assert_eq!(fixture.without_token_until(millis(57_900)).await, NEVER);
    assert!(fixture.requests().len() >= 3);
}

#[tokio::test(start_paused = true)]
async fn shorter_grant_refresh_leaves_time_for_three_attempts() {
    for seed in 0..20 {
        let fixture = Fixture::with(1, seed, Limits::default(), |ask| match ask.number {
            1..=3 => Response::Grant(secs(15), millis(100)),
            _ => Response::Hang,
        });
        let anchor = fixture.requested(3).await;
        sleep(secs(20)).await;
        let requests = fixture.requests();
        let gaps = gaps(&requests);
        assert!(gaps[1] <= millis(6_510) && gaps[2] <= millis(6_510), "{gaps:?}");
        // It expires at 13 s: attempts that start by 11 s are complete.
        let full = fixture.requests_between(anchor + secs(1), anchor + millis(11_020)).len();
        assert!(full >= 3, "seed {seed}: {requests:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn first_cycle_spreads_from_0_3_to_1() {
    let mut points = Vec::new();
    for seed in 0..200 {
        let fixture = Fixture::with(1, seed, Limits::default(), |_| grant());
        sleep(secs(51)).await;
        points.push(fixture.requests()[1]);
    }
    points.sort();
    assert!(points[0] >= secs(15) && points[0] < secs(18), "{:?}", points[0]);
    assert!(points[199] <= millis(50_001) && points[199] > secs(47), "{:?}", points[199]);
    assert!(points[100] > secs(28) && points[100] < secs(37), "{:?}", points[100]);
}

#[tokio::test(start_paused = true)]
async fn next_request_comes_when_reported() {
    let mut flaky = fastrand::Rng::with_seed(3);
    let fixture = Fixture::new(move |ask| match ask.number {
        1 => grant(),
        _ => match flaky.u8(..4) {
            0 => status(500),
            1 => Response::Hang,
            2 => super::fixture::throttled(secs(20)),
            _ => grant(),
        },
    });
    sleep(millis(200)).await;
    for _ in 0..120 {
        let (reported, seen) = (fixture.next_attempt(), fixture.requests().len());
        assert!(reported >= fixture.elapsed(), "{reported:?} is past at {:?}", fixture.elapsed());
        let at = fixture.requested_at(seen + 1).await;
        assert!(at >= reported && at <= reported + millis(3), "reported {reported:?}, came {at:?}");
        fixture.settled().await;
    }
}

#[tokio::test(start_paused = true)]
async fn brown_out_fails_under_one_percent_of_calls() {
    let mut dice = fastrand::Rng::with_seed(11);
    let fixture = Fixture::new(move |ask| {
        let slow = millis(1_900);
        if ask.number == 1 || dice.bool() { Response::Grant(secs(60), slow) } else { status(500) }
    });
    fixture.requested(1).await;
    sleep(secs(2)).await;
    let without = fixture.without_token_until(secs(1_200)).await;
    assert!(without.len() < 120, "{} of 12,000", without.len());
    // 26 grants in that time, on average each at the second request.
    let requests = fixture.requests().len();
    assert!((40..=70).contains(&requests), "{requests}");
}
