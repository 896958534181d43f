//! Caches in front of the upstream: responses without a newer grant.

use grantmint::{
    grant::{FaultClass, RefreshState},
    mint::{minter::Cause, options::Options},
};

use super::fixture::{Fixture, NEVER, Response, gaps, grant, millis, secs};

#[tokio::test(start_paused = true)]
async fn returned_grant_keeps_its_expiry() {
    let fixture = Fixture::new(|ask| if ask.number == 1 { grant() } else { Response::Again(1) });
    fixture.requested(1).await;
    // Each mint is checked against the true expiry.
    assert_eq!(fixture.without_token_until(millis(57_900)).await, NEVER);
    fixture.until(secs(58)).await;
    for at in 58..180 {
        fixture.until(secs(at)).await;
        assert!(matches!(fixture.cause().await, Some(Cause::GrantExpired(_))), "{at}");
    }
    let reported = fixture.status();
    assert_eq!(reported.refresh, RefreshState::Retrying);
    let fault = reported.last_fault.unwrap();
    assert_eq!((fault.class, &*fault.reason), (FaultClass::Transient, "GRANT_UNCHANGED"));
}

#[tokio::test(start_paused = true)]
async fn alternating_previous_grants_are_not_accepted() {
    let fixture = Fixture::new(|ask| match ask.number {
        1..=3 => grant(),
        number => Response::Again(1 + number % 3),
    });
    fixture.requested(3).await;
    let end = fixture.elapsed() + secs(58);
    let without = fixture.without_token_until(end + secs(60)).await;
    assert!(without.first().is_some_and(|first| *first + secs(1) >= end), "{without:?}");
    assert!(without.len() >= 599, "tokens were minted after the last grant's expiry");
}

#[tokio::test(start_paused = true)]
async fn late_renewal_causes_few_requests_and_no_fault() {
    let mut newest = 1;
    let mut newest_since = secs(0);
    let fixture = Fixture::new(move |ask| {
        if ask.number == 1 || ask.at >= newest_since + secs(55) {
            (newest, newest_since) = (ask.number, ask.at);
            return grant();
        }
        Response::Again(newest)
    });
    fixture.requested(1).await;
    // From its refresh point on there are a few requests; the warning comes in the last eighth.
    let mut states = Vec::new();
    while fixture.elapsed() < secs(600) {
        assert_eq!(fixture.without_token_until(fixture.elapsed() + millis(500)).await, NEVER);
        states.push((fixture.status().refresh, fixture.status().last_fault.is_some()));
    }
    assert!(states.contains(&(RefreshState::Ok, true)), "no state without a warning");
    assert!(states.contains(&(RefreshState::Retrying, true)), "no warning in the last eighth");
    let requests = fixture.requests().len();
    assert!((22..=66).contains(&requests), "{requests} requests in eleven lives");
}

#[tokio::test(start_paused = true)]
async fn shorter_grant_does_not_replace_the_current_one() {
    // A cache in front of a token endpoint returns what remains of its grant.
    let fixture = Fixture::new(|ask| match ask.number {
        1 => grant(),
        _ if ask.at < secs(54) => Response::Grant(secs(4), millis(100)),
        _ => grant(),
    });
    let needs_more =
        Options { min_remaining: secs(50), max_wait: Some(secs(0)), ..Options::default() };
    fixture.until(secs(16)).await;
    let before = fixture.mint().await.unwrap().terms;
    // This call pulls the refresh forward, to the cache.
    assert!(fixture.mint_with(&needs_more, None).await.is_err());
    fixture.requested(2).await;
    let after = fixture.mint().await.unwrap().terms;
    assert_eq!(after.generation, before.generation);
    assert!(after.use_within > secs(40), "{:?}", after.use_within);
    assert_eq!(fixture.status().refresh, RefreshState::Ok, "a warning although there is time left");
    assert_eq!(&*fixture.status().last_fault.unwrap().reason, "GRANT_ENDS_SOONER");

    assert_eq!(fixture.without_token_until(secs(70)).await, NEVER);
    let requested = fixture.requests_between(secs(16), secs(54));
    assert!(requested.len() <= 8, "{requested:?}");
    assert!(
        gaps(&requested)[0] >= secs(10),
        "expected a quarter of the remaining life: {requested:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn refused_player_gets_a_shorter_grant() {
    let fixture = Fixture::new(|ask| match ask.number {
        1 => grant(),
        _ => Response::Grant(secs(20), millis(100)),
    });
    fixture.until(secs(16)).await;
    let refused = fixture.mint().await.unwrap().terms.generation;
    let newer =
        Options { after_generation: refused.get(), max_wait: Some(secs(2)), ..Options::default() };
    let minted = fixture.mint_with(&newer, None).await.unwrap();
    assert!(minted.terms.generation > refused);
    assert!(minted.terms.use_within < secs(20));
}
