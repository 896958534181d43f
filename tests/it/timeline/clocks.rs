//! Clock steps and suspended machines.

use grantmint::mint::minter::Cause;
use serde_json::Value;
use tokio::time::sleep;

use super::fixture::{Fixture, NEVER, Response, grant, millis, secs, status};
use crate::support::payload;

#[tokio::test(start_paused = true)]
async fn clock_step_of_an_hour_expires_and_replaces_the_grant() {
    let fixture = Fixture::new(|_| grant());
    fixture.until(secs(10)).await;
    let before = fixture.mint().await.unwrap().terms.generation;
    fixture.simulation.step_wall_forward(secs(3_600));
    // By the wall clock the grant may have expired, so it is not used.
    assert!(matches!(fixture.cause().await, Some(Cause::GrantExpired(_))));
    let after = fixture.mint_waiting(secs(2)).await.unwrap();
    assert!(after.terms.generation > before);
    assert!(fixture.elapsed() <= secs(12));
    sleep(secs(40)).await;
    assert_eq!(fixture.requests_between(secs(10), secs(12)).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn forward_step_is_noticed_while_idle() {
    let fixture = Fixture::new(|_| grant());
    fixture.until(secs(10)).await;
    fixture.simulation.step_wall_forward(secs(3_600));
    sleep(secs(2)).await;
    fixture.mint().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn small_forward_step_refreshes_before_expiry() {
    let fixture = Fixture::new(|_| grant());
    fixture.until(secs(5)).await;
    // 60 - 5 - 45 + 2 = 12 s remain, less the margin 10: earlier than any first cycle would
    // refresh.
    fixture.simulation.step_wall_forward(secs(45));
    assert_eq!(fixture.without_token_until(secs(60)).await, NEVER);
}

#[tokio::test(start_paused = true)]
async fn clock_step_within_tolerance_changes_nothing() {
    let fixture = Fixture::new(|_| grant());
    fixture.until(secs(5)).await;
    fixture.simulation.step_wall_forward(millis(1_900));
    assert_eq!(fixture.without_token_until(millis(14_900)).await, NEVER);
    assert_eq!(fixture.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn backward_clock_step_changes_only_reported_times() {
    let fixture = Fixture::new(|ask| if ask.number == 1 { grant() } else { status(500) });
    fixture.until(secs(5)).await;
    let before = fixture.mint().await.unwrap();
    fixture.simulation.step_wall_back(secs(3_600));
    sleep(secs(2)).await;
    let after = fixture.mint().await.unwrap();
    assert_eq!(after.terms.generation, before.terms.generation);
    assert_eq!(fixture.requests().len(), 1);
    assert_eq!(after.terms.use_within + secs(2), before.terms.use_within);

    let payload: Value = serde_json::from_str(&payload(&after.token)).unwrap();
    assert_eq!(payload["iat"], 1_700_000_007 - 3_600);
    assert_eq!(payload["exp"], 1_700_000_060 - 3_600);

    // The grant expires on time, and its expiry is reported by the current wall clock.
    fixture.until(millis(57_900)).await;
    fixture.mint().await.unwrap();
    fixture.until(secs(61)).await;
    let Some(Cause::GrantExpired(end)) = fixture.cause().await else {
        panic!("the grant has not expired")
    };
    assert_eq!(end.unix_seconds(), 1_700_000_060 - 3_600);
}

#[tokio::test(start_paused = true)]
async fn generation_grows_after_a_backward_step() {
    let fixture = Fixture::new(|_| grant());
    fixture.until(secs(5)).await;
    let before = fixture.mint().await.unwrap().terms.generation;
    fixture.simulation.step_wall_back(secs(3_600));
    fixture.requested(2).await;
    assert!(fixture.mint().await.unwrap().terms.generation > before);
}

#[tokio::test(start_paused = true)]
async fn repeated_seconds_repeat_no_token_id() {
    let fixture = Fixture::new(|_| grant());
    for _ in 0..3 {
        fixture.requested(1).await;
        // Each token's id is compared with all previous ones.
        assert_eq!(fixture.without_token_until(fixture.elapsed() + secs(3)).await, NEVER);
        fixture.simulation.step_wall_back(secs(3));
    }
}

#[tokio::test(start_paused = true)]
async fn grant_survives_a_short_suspend() {
    for seed_time in [3, 9, 14] {
        let fixture = Fixture::new(|_| grant());
        fixture.until(secs(seed_time)).await;
        let before = fixture.mint().await.unwrap().terms.generation;
        fixture.simulation.suspend(secs(20));
        assert_eq!(fixture.mint().await.unwrap().terms.generation, before);
        // The remaining life is shortened by the suspend, and the refresh is planned accordingly.
        assert_eq!(fixture.without_token_until(secs(200)).await, NEVER);
    }
}

#[tokio::test(start_paused = true)]
async fn suspend_past_the_refresh_point_refreshes_before_expiry() {
    let fixture = Fixture::new(|_| grant());
    let anchor = fixture.requested(2).await;
    fixture.until(anchor + secs(30)).await;
    // The grant is 55 s old, and the timer of its refresh stood still.
    fixture.simulation.suspend(secs(25));
    assert_eq!(fixture.without_token_until(anchor + secs(60)).await, NEVER);
}

#[tokio::test(start_paused = true)]
async fn long_suspend_refuses_the_expired_grant_and_refreshes() {
    // Another 45 s expire a grant of this age, except for its last 100 ms.
    for length in [45, 60, 120] {
        for requested in [false, true] {
            let fixture = Fixture::new(|_| grant());
            fixture.until(millis(14_900)).await;
            fixture.simulation.suspend(secs(length));
            if requested {
                assert!(matches!(fixture.cause().await, Some(Cause::GrantExpired(_))), "{length}");
                fixture.mint_waiting(secs(2)).await.unwrap();
            }
            fixture.until(millis(16_900)).await;
            fixture.mint().await.unwrap();
            assert_eq!(fixture.requests().len(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn suspend_during_an_attempt_publishes_no_expired_grant() {
    let fixture = Fixture::new(|ask| {
        Response::Grant(secs(60), if ask.number == 2 { millis(1_500) } else { millis(100) })
    });
    let second = fixture.requested_at(2).await;
    fixture.until(second + millis(500)).await;
    // The response is in the socket while the machine sleeps past the grant's expiry.
    fixture.simulation.suspend(secs(120));
    assert!(fixture.mint().await.is_err());
    fixture.until(second + millis(1_600)).await;
    assert!(fixture.mint().await.is_err(), "an expired grant was published");
    fixture.mint_waiting(secs(2)).await.unwrap();
    assert!(fixture.elapsed() <= second + secs(4), "{:?} after {second:?}", fixture.elapsed());
}
