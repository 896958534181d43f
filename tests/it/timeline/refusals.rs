//! Refusals by the upstream: single ones, lasting ones, and recovery.

use grantmint::{
    grant::{FaultClass, RefreshState},
    mint::{Limits, minter::Cause},
};
use tokio::time::sleep;

use super::fixture::{Fixture, NEVER, Response, gaps, grant, millis, secs, status};

fn lasting_cause(code: u16) -> Cause {
    if code == 404 { Cause::ResourceNotFound } else { Cause::UpstreamRejected }
}

#[tokio::test(start_paused = true)]
async fn single_refusal_with_a_live_grant_is_retried() {
    for code in [401, 403, 404, 400] {
        let fixture = Fixture::new(move |ask| if ask.number == 2 { status(code) } else { grant() });
        fixture.requested_at(2).await;
        while fixture.requests().len() < 3 {
            assert_ne!(fixture.status().refresh, RefreshState::Rejected, "{code}");
            sleep(millis(10)).await;
        }
        let retried = gaps(&fixture.requests())[1];
        assert!(retried <= secs(1), "{code}: {retried:?}");
        assert_eq!(fixture.without_token_until(secs(200)).await, NEVER);
    }
}

#[tokio::test(start_paused = true)]
async fn second_refusal_counts_and_the_grant_serves_until_expiry() {
    for code in [401, 404, 400] {
        let fixture = Fixture::new(move |ask| {
            if ask.number == 1 || ask.at >= secs(200) { grant() } else { status(code) }
        });
        fixture.requested(1).await;
        let second = fixture.requested(3).await;
        assert_eq!(fixture.status().refresh, RefreshState::Rejected);
        assert_eq!(fixture.without_token_until(millis(57_900)).await, NEVER, "{code}");

        // The cause that needs an operator is reported until the recovery, however often callers
        // try.
        fixture.until(secs(58)).await;
        while fixture.elapsed() < secs(199) {
            assert_eq!(fixture.cause().await, Some(lasting_cause(code)), "{:?}", fixture.elapsed());
            sleep(millis(100)).await;
        }
        let probes = fixture.requests_between(second, secs(200));
        let close = gaps(&probes).into_iter().filter(|gap| *gap < secs(30)).count();
        // One of them is the last attempt before the expiry.
        assert!(close <= 1, "{code}: {probes:?}");
        assert!(probes.len() >= 5, "{code}: {probes:?}");

        // After the fix, the next probe succeeds.
        let good = loop {
            if let Some(good) = fixture.requests().into_iter().find(|at| *at >= secs(200)) {
                break good;
            }
            sleep(millis(10)).await;
        };
        assert!(good <= secs(231), "{good:?}");
        sleep(millis(150)).await;
        fixture.mint().await.unwrap();
        assert_eq!(fixture.status().refresh, RefreshState::Ok);
        assert_eq!(fixture.status().last_fault, None);
    }
}

#[tokio::test(start_paused = true)]
async fn lasting_refusal_has_one_last_attempt_before_expiry() {
    for code in [401, 404] {
        let seed = 5;
        let fixture = Fixture::with(1, seed, Limits::default(), move |ask| {
            if ask.number <= 2 { grant() } else { status(code) }
        });
        let anchor = fixture.requested(2).await;
        let second = fixture.requested(4).await;
        sleep(secs(20)).await;
        assert!(second < anchor + secs(52), "{second:?} after {anchor:?}");
        let requests = fixture.requests_between(anchor + millis(52_500), anchor + secs(58));
        assert_eq!(requests.len(), 1, "{requests:?}");
        let last_try = anchor + secs(55);
        assert!(requests[0] >= last_try && requests[0] < last_try + millis(10), "{requests:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_live_grant_the_first_refusal_counts() {
    for code in [401, 404] {
        let fixture = Fixture::new(move |ask| if ask.number == 1 { status(code) } else { grant() });
        sleep(millis(100)).await;
        assert_eq!(fixture.status().refresh, RefreshState::Rejected);
        assert_eq!(fixture.cause().await, Some(lasting_cause(code)));
        let without = fixture.without_token_until(secs(40)).await;
        let last = *without.last().unwrap();
        assert!(last >= millis(29_900) && last <= millis(30_300), "{last:?}");
        assert_eq!(fixture.requests().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn other_probe_failures_do_not_clear_the_refusal() {
    let others: [fn() -> Response; 4] =
        [|| status(500), || Response::Hang, || status(429), || Response::Panic];
    for code in [401, 404] {
        for other in others {
            let fixture = Fixture::new(move |ask| match ask.number {
                1 | 3 => status(code),
                _ if ask.at < secs(150) => other(),
                _ => grant(),
            });
            sleep(millis(100)).await;
            while fixture.elapsed() < secs(149) {
                // One call a second, so that there is demand.
                let cause = fixture.cause().await;
                if code == 404 {
                    assert_eq!(cause, Some(Cause::ResourceNotFound), "{:?}", fixture.elapsed());
                }
                sleep(secs(1)).await;
            }
            let requests = fixture.requests();
            let apart = gaps(&requests).into_iter().all(|gap| gap >= millis(29_900));
            assert!(apart, "{code}: {requests:?}");
            assert!(requests.len() >= 4, "too few probes: {requests:?}");
            sleep(secs(35)).await;
            fixture.mint().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn refused_credential_is_probed_once_per_account() {
    let fixture = Fixture::with(2, 7, Limits::default(), |ask| {
        if ask.at >= secs(200) { grant() } else { status(401) }
    });
    sleep(millis(500)).await;
    for resource in [0, 1] {
        let reported = fixture.status_of(resource);
        assert_eq!(reported.refresh, RefreshState::Rejected);
        assert_eq!(reported.last_fault.unwrap().class, FaultClass::Credential);
    }
    fixture.without_token_until(secs(200)).await;
    let probes = fixture.requests_between(secs(1), secs(200));
    assert!(gaps(&probes).iter().all(|gap| *gap >= secs(30)), "{probes:?}");
    assert!(probes.len() >= 6, "{probes:?}");

    // After the fix, all resources have grants as soon as one probe has succeeded.
    sleep(secs(34)).await;
    for resource in [0, 1] {
        let reported = fixture.status_of(resource);
        assert_eq!(reported.refresh, RefreshState::Ok, "{resource}: {reported:?}");
    }
    let recovered = fixture.requests_between(secs(200), secs(240));
    assert!(gaps(&recovered)[0] <= millis(2_100), "{recovered:?}");
}

#[tokio::test(start_paused = true)]
async fn refused_resource_does_not_affect_the_account() {
    let fixture = Fixture::with(2, 7, Limits::default(), |ask| {
        if ask.resource == 0 { status(404) } else { grant() }
    });
    sleep(secs(300)).await;
    assert_eq!(fixture.status_of(0).refresh, RefreshState::Rejected);
    assert_eq!(fixture.status_of(1).refresh, RefreshState::Ok);
    let probes = fixture.requests_for(0);
    assert_eq!(probes.len(), 10, "{probes:?}");
}

#[tokio::test(start_paused = true)]
async fn throttled_account_does_not_hide_a_missing_resource() {
    let fixture = Fixture::with(2, 7, Limits::default(), |ask| match (ask.resource, ask.number) {
        (0, _) => status(404),
        (_, 1 | 2) => grant(),
        _ => super::fixture::throttled(secs(60)),
    });
    sleep(secs(50)).await;
    for _ in 0..60 {
        assert_eq!(fixture.cause().await, Some(Cause::ResourceNotFound));
        sleep(secs(1)).await;
    }
}
