//! Clocks that somebody steps, and machines that are suspended.

use grantmint::mint::minter::Cause;
use serde_json::Value;
use tokio::time::sleep;

use super::world::{Answer, NEVER, World, grant, millis, secs, status};
use crate::support::payload;

#[tokio::test(start_paused = true)]
async fn clock_step_of_an_hour_expires_and_replaces_the_grant() {
    let world = World::new(|_| grant());
    world.until(secs(10)).await;
    let before = world.mint().await.unwrap().terms.generation;
    world.hand.step_wall_forward(secs(3_600));
    // By the witness the grant may be dead, so nobody gets it.
    assert!(matches!(world.cause().await, Some(Cause::GrantExpired(_))));
    let after = world.mint_waiting(secs(2)).await.unwrap();
    assert!(after.terms.generation > before);
    assert!(world.elapsed() <= secs(12));
    sleep(secs(40)).await;
    assert_eq!(world.requests_between(secs(10), secs(12)).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn forward_step_is_noticed_while_idle() {
    let world = World::new(|_| grant());
    world.until(secs(10)).await;
    world.hand.step_wall_forward(secs(3_600));
    sleep(secs(2)).await;
    world.mint().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn small_forward_step_refreshes_before_expiry() {
    let world = World::new(|_| grant());
    world.until(secs(5)).await;
    // 60 - 5 - 45 + 2 = 12 s are left, less the margin 10: before any first cycle ends.
    world.hand.step_wall_forward(secs(45));
    assert_eq!(world.without_token_until(secs(60)).await, NEVER);
}

#[tokio::test(start_paused = true)]
async fn clock_step_within_tolerance_changes_nothing() {
    let world = World::new(|_| grant());
    world.until(secs(5)).await;
    world.hand.step_wall_forward(millis(1_900));
    assert_eq!(world.without_token_until(millis(14_900)).await, NEVER);
    assert_eq!(world.requests().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn backward_clock_step_changes_only_reported_times() {
    let world = World::new(|ask| if ask.number == 1 { grant() } else { status(500) });
    world.until(secs(5)).await;
    let before = world.mint().await.unwrap();
    world.hand.step_wall_back(secs(3_600));
    sleep(secs(2)).await;
    let after = world.mint().await.unwrap();
    assert_eq!(after.terms.generation, before.terms.generation);
    assert_eq!(world.requests().len(), 1);
    assert_eq!(after.terms.use_within + secs(2), before.terms.use_within);

    let payload: Value = serde_json::from_str(&payload(&after.token)).unwrap();
    assert_eq!(payload["iat"], 1_700_000_007 - 3_600);
    assert_eq!(payload["exp"], 1_700_000_060 - 3_600);

    // The grant dies when it should, and its end is told by the clock as it goes now.
    world.until(millis(57_900)).await;
    world.mint().await.unwrap();
    world.until(secs(61)).await;
    let Some(Cause::GrantExpired(end)) = world.cause().await else { panic!("it is dead") };
    assert_eq!(end.unix_seconds(), 1_700_000_060 - 3_600);
}

#[tokio::test(start_paused = true)]
async fn generation_grows_after_a_backward_step() {
    let world = World::new(|_| grant());
    world.until(secs(5)).await;
    let before = world.mint().await.unwrap().terms.generation;
    world.hand.step_wall_back(secs(3_600));
    world.requested(2).await;
    assert!(world.mint().await.unwrap().terms.generation > before);
}

#[tokio::test(start_paused = true)]
async fn repeated_seconds_repeat_no_token_id() {
    let world = World::new(|_| grant());
    for _ in 0..3 {
        world.requested(1).await;
        // Each token's id is held against all those before it.
        assert_eq!(world.without_token_until(world.elapsed() + secs(3)).await, NEVER);
        world.hand.step_wall_back(secs(3));
    }
}

#[tokio::test(start_paused = true)]
async fn grant_survives_a_short_suspend() {
    for seed_time in [3, 9, 14] {
        let world = World::new(|_| grant());
        world.until(secs(seed_time)).await;
        let before = world.mint().await.unwrap().terms.generation;
        world.hand.suspend(secs(20));
        assert_eq!(world.mint().await.unwrap().terms.generation, before);
        // What is left of the grant is less by the suspend, and the refresh knows.
        assert_eq!(world.without_token_until(secs(200)).await, NEVER);
    }
}

#[tokio::test(start_paused = true)]
async fn suspend_past_the_refresh_point_refreshes_before_expiry() {
    let world = World::new(|_| grant());
    let anchor = world.requested(2).await;
    world.until(anchor + secs(30)).await;
    // The grant is 55 s old now, and the timer of its refresh stood still.
    world.hand.suspend(secs(25));
    assert_eq!(world.without_token_until(anchor + secs(60)).await, NEVER);
}

#[tokio::test(start_paused = true)]
async fn long_suspend_refuses_the_expired_grant_and_refreshes() {
    // 45 s more end the life of a grant of this age, and leave its last 100 ms.
    for length in [45, 60, 120] {
        for asked in [false, true] {
            let world = World::new(|_| grant());
            world.until(millis(14_900)).await;
            world.hand.suspend(secs(length));
            if asked {
                assert!(matches!(world.cause().await, Some(Cause::GrantExpired(_))), "{length}");
                world.mint_waiting(secs(2)).await.unwrap();
            }
            world.until(millis(16_900)).await;
            world.mint().await.unwrap();
            assert_eq!(world.requests().len(), 2);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn suspend_during_an_attempt_publishes_no_expired_grant() {
    let world = World::new(|ask| {
        Answer::Grant(secs(60), if ask.number == 2 { millis(1_500) } else { millis(100) })
    });
    let second = world.requested_at(2).await;
    world.until(second + millis(500)).await;
    // The answer lies in the socket while the machine sleeps past its grant's end.
    world.hand.suspend(secs(120));
    assert!(world.mint().await.is_err());
    world.until(second + millis(1_600)).await;
    assert!(world.mint().await.is_err(), "and no dead one came in its place");
    world.mint_waiting(secs(2)).await.unwrap();
    assert!(world.elapsed() <= second + secs(4), "{:?} after {second:?}", world.elapsed());
}
