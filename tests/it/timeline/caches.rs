//! Caches between here and the upstream: answers that bring nothing new.

use grantmint::{
    grant::{FaultClass, RefreshState},
    mint::{minter::Cause, options::Options},
};

use super::world::{Answer, NEVER, World, gaps, grant, millis, secs};

#[tokio::test(start_paused = true)]
async fn returned_grant_keeps_its_expiry() {
    let world = World::new(|ask| if ask.number == 1 { grant() } else { Answer::Again(1) });
    world.requested(1).await;
    // The oracle in each mint knows the true end.
    assert_eq!(world.without_token_until(millis(57_900)).await, NEVER);
    world.until(secs(58)).await;
    for at in 58..180 {
        world.until(secs(at)).await;
        assert!(matches!(world.cause().await, Some(Cause::GrantExpired(_))), "{at}");
    }
    let told = world.status();
    assert_eq!(told.refresh, RefreshState::Retrying);
    let fault = told.last_fault.unwrap();
    assert_eq!((fault.class, &*fault.reason), (FaultClass::Transient, "GRANT_UNCHANGED"));
}

#[tokio::test(start_paused = true)]
async fn alternating_previous_grants_are_not_accepted() {
    let world = World::new(|ask| match ask.number {
        1..=3 => grant(),
        number => Answer::Again(1 + number % 3),
    });
    world.requested(3).await;
    let end = world.elapsed() + secs(58);
    let without = world.without_token_until(end + secs(60)).await;
    assert!(without.first().is_some_and(|first| *first + secs(1) >= end), "{without:?}");
    assert!(without.len() >= 599, "from the last one's end on there is no token");
}

#[tokio::test(start_paused = true)]
async fn late_renewal_causes_few_requests_and_no_fault() {
    let mut newest = 1;
    let mut newest_since = secs(0);
    let world = World::new(move |ask| {
        if ask.number == 1 || ask.at >= newest_since + secs(55) {
            (newest, newest_since) = (ask.number, ask.at);
            return grant();
        }
        Answer::Again(newest)
    });
    world.requested(1).await;
    // From its refresh point on it is asked now and then; in the last eighth it is a warning.
    let mut states = Vec::new();
    while world.elapsed() < secs(600) {
        assert_eq!(world.without_token_until(world.elapsed() + millis(500)).await, NEVER);
        states.push((world.status().refresh, world.status().last_fault.is_some()));
    }
    assert!(states.contains(&(RefreshState::Ok, true)), "no warning while there is time");
    assert!(states.contains(&(RefreshState::Retrying, true)), "a warning when it is late");
    let requests = world.requests().len();
    assert!((22..=66).contains(&requests), "{requests} in eleven lives");
}

#[tokio::test(start_paused = true)]
async fn shorter_grant_does_not_replace_the_current_one() {
    // A cache before a token endpoint hands out what it has left.
    let world = World::new(|ask| match ask.number {
        1 => grant(),
        _ if ask.at < secs(54) => Answer::Grant(secs(4), millis(100)),
        _ => grant(),
    });
    let needs_more =
        Options { min_remaining: secs(50), max_wait: Some(secs(0)), ..Options::default() };
    world.until(secs(16)).await;
    let before = world.mint().await.unwrap().terms;
    // This pulls the refresh forward, into the cache.
    assert!(world.mint_with(&needs_more, None).await.is_err());
    world.requested(2).await;
    let after = world.mint().await.unwrap().terms;
    assert_eq!(after.generation, before.generation);
    assert!(after.use_within > secs(40), "{:?}", after.use_within);
    assert_eq!(world.status().refresh, RefreshState::Ok, "there is time");
    assert_eq!(&*world.status().last_fault.unwrap().reason, "GRANT_ENDS_SOONER");

    assert_eq!(world.without_token_until(secs(70)).await, NEVER);
    let asked = world.requests_between(secs(16), secs(54));
    assert!(asked.len() <= 8, "{asked:?}");
    assert!(gaps(&asked)[0] >= secs(10), "a quarter of what is left: {asked:?}");
}

#[tokio::test(start_paused = true)]
async fn refused_player_gets_a_shorter_grant() {
    let world = World::new(|ask| match ask.number {
        1 => grant(),
        _ => Answer::Grant(secs(20), millis(100)),
    });
    world.until(secs(16)).await;
    let refused = world.mint().await.unwrap().terms.generation;
    let newer =
        Options { after_generation: refused.get(), max_wait: Some(secs(2)), ..Options::default() };
    let minted = world.mint_with(&newer, None).await.unwrap();
    assert!(minted.terms.generation > refused);
    assert!(minted.terms.use_within < secs(20));
}
