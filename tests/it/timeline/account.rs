//! Many resources of one account, and bulks across their refreshes.

use std::sync::Arc;

use grantmint::{
    grant::GrantState,
    mint::{
        Limits,
        bulk::{Bulk, End, Selection},
        minter::Cause,
        options::Options,
        quota::Unlimited,
    },
    name::Identity,
};
use tokio::time::{Instant, sleep};

use super::fixture::{Fixture, Response, grant, millis, secs, status};

#[tokio::test(start_paused = true)]
async fn hundred_resources_stay_within_the_account_rate() {
    let fixture = Fixture::with(100, 7, Limits::default(), |_| grant());
    sleep(secs(300)).await;
    assert!(fixture.most_in_flight() <= 8);
    let requests = fixture.requests();
    for (from, start) in requests.iter().enumerate() {
        for seconds in [1, 5, 30] {
            let within = requests[from..].iter().take_while(|at| **at < *start + secs(seconds));
            let allowed = usize::try_from(10 + 10 * seconds).unwrap();
            assert!(within.count() <= allowed, "{seconds} s from {start:?} on");
        }
    }
    assert!(requests[99] <= secs(12), "not all were requested in time: {:?}", requests[99]);
    for resource in 0..100 {
        let reported = fixture.status_of(resource);
        assert_eq!(reported.state(fixture.clock.now(), secs(2)), GrantState::Live, "{resource}");
        assert_eq!(reported.consecutive_failures, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn at_most_eight_requests_hang_at_once() {
    let fixture = Fixture::with(40, 7, Limits::default(), |ask| {
        if ask.at < secs(60) { Response::Hang } else { grant() }
    });
    sleep(secs(60)).await;
    assert_eq!(fixture.most_in_flight(), 8);
    // Eight at a time, 2 s each.
    let requests = fixture.requests().len();
    assert!(requests <= 246, "{requests}");
    // Every resource had its turn.
    for resource in 0..40 {
        assert!(!fixture.requests_for(resource).is_empty(), "{resource}");
    }
}

fn bulk(fixture: &Fixture, selection: Selection, start: i64, deadline: Option<Instant>) -> Bulk {
    let options = Options { max_wait: Some(secs(10)), ..Options::default() };
    let minter = Arc::clone(&fixture.minter);
    Bulk::new(minter, fixture.plan(&options), selection, start, 50, deadline, Arc::new(Unlimited))
}

#[tokio::test(start_paused = true)]
async fn bulk_crosses_refreshes_with_one_generation_per_chunk() {
    let fixture = Fixture::new(|_| grant());
    fixture.requested(1).await;
    let selection = Selection::Series { prefix: "viewer-".into(), count: 2_000 };
    let mut bulk = bulk(&fixture, selection, 7, None);
    let (mut next, mut grants) = (7, Vec::new());
    while let Some(chunk) = bulk.next_chunk().await.unwrap() {
        assert_eq!(chunk.first_index(), next);
        let tokens: Vec<String> = chunk.tokens().map(|token| token.unwrap().into()).collect();
        assert_eq!(tokens.len(), chunk.count());
        assert!(tokens.iter().map(String::len).sum::<usize>() <= chunk.bytes());
        let made_with = fixture.check(&tokens[0], chunk.terms());
        for token in &tokens[1..] {
            assert_eq!(
                fixture.check(token, chunk.terms()),
                made_with,
                "a chunk has several generations"
            );
        }
        next += i64::try_from(tokens.len()).unwrap();
        grants.push(made_with);
        assert_eq!(bulk.next_index(), next);
        // A slow reader.
        sleep(secs(5)).await;
    }
    assert_eq!(next, 2_000);
    grants.dedup();
    assert!(grants.len() >= 4 && grants.is_sorted(), "{grants:?}");
}

#[tokio::test(start_paused = true)]
async fn failed_bulk_reports_the_cause_and_resume_index() {
    let fixture = Fixture::new(|ask| if ask.number == 1 { grant() } else { status(500) });
    fixture.requested(1).await;
    let identities = (0..500).map(|number| Identity::parse(format!("viewer-{number}")).unwrap());
    let mut bulk = bulk(&fixture, Selection::List(identities.collect()), 0, None);
    fixture.until(secs(57)).await;
    bulk.next_chunk().await.unwrap().unwrap();
    fixture.until(secs(59)).await;
    let Err(End::Unserved(unserved)) = bulk.next_chunk().await else {
        panic!("the grant has not expired")
    };
    assert!(matches!(unserved.cause, Cause::GrantExpired(_)));
    assert_eq!(bulk.next_index(), 50);
}

#[tokio::test(start_paused = true)]
async fn bulk_ends_before_its_deadline() {
    let fixture = Fixture::new(|_| grant());
    fixture.requested(1).await;
    let deadline = Instant::now() + secs(3);
    let selection = Selection::Series { prefix: "v".into(), count: 1_000_000 };
    let mut bulk = bulk(&fixture, selection, 0, Some(deadline));
    let end = loop {
        match bulk.next_chunk().await {
            Ok(_) => sleep(millis(30)).await,
            Err(end) => break end,
        }
    };
    assert_eq!(end, End::Deadline);
    assert!(Instant::now() < deadline);
}
