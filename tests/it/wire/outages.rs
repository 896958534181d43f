//! Faults of a socket, as callers and the upstream see them over real TCP. How soon callers
//! are well again to the millisecond, and every other fault: `timeline::outages`.

use std::{ops::RangeInclusive, time::Duration};

use futures_util::future::join_all;
use grantmint::{
    clock::Clock,
    rpc::proto::{Grant, ListGrantsRequest, MintOptions},
};
use tonic::Status;

use super::harness::{VJ, World, profile, told};
use crate::support::found;

const SECOND: Duration = Duration::from_secs(1);

/// A profile whose grants live for 12 s: no token is made with one that is 10 s old.
fn short_grants() -> String {
    profile("live", &VJ[..1], "grant_ttl = \"12s\"")
}

impl World {
    async fn grant(&self) -> Grant {
        let list = self.grants().list_grants(ListGrantsRequest::default()).await;
        list.unwrap().into_inner().grants.remove(0)
    }

    /// The generation of a token, answered at once.
    async fn generation(&self) -> Result<i64, Status> {
        let max_wait = Some(prost_types::Duration::default());
        let minted = self.mint("viewer", MintOptions { max_wait, ..<_>::default() }).await?;
        Ok(minted.validity.unwrap().generation)
    }
}

/// The time since a generation's grant was asked for.
fn age(generation: i64) -> Duration {
    let now = Clock::system().now().wall.unix_micros();
    Duration::from_micros(u64::try_from(now - generation).unwrap())
}

/// A fault that outlasts a grant: what it is seen as, what callers are told past the grant's
/// end, and how many requests it meets from 1 to 3.5 s of the grant's age on.
type Outage = (&'static str, &'static str, &'static str, RangeInclusive<u64>);

const OUTAGES: [Outage; 8] = [
    ("reset", "CONNECTION_LOST", "GRANT_EXPIRED", 5..=25),
    ("body=cut", "CONNECTION_LOST", "GRANT_EXPIRED", 5..=25),
    ("body=huge", "ANSWER_TOO_LARGE", "GRANT_EXPIRED", 5..=25),
    ("body=endless", "ANSWER_TOO_LARGE", "GRANT_EXPIRED", 5..=25),
    ("body=gzip", "ENCODED_ANSWER", "GRANT_EXPIRED", 5..=25),
    ("body=slow", "TIMEOUT", "GRANT_EXPIRED", 3..=6),
    ("hang", "TIMEOUT", "GRANT_EXPIRED", 3..=6),
    ("status=307", "HTTP_STATUS_307", "UPSTREAM_REJECTED", 3..=3),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_upstream_responses_fail_no_call_with_a_live_grant() {
    let played = OUTAGES.map(|(fault, seen_as, reason, requests)| async move {
        let world = World::of(&short_grants()).await;
        world.sandbox.set_fault(fault.parse().unwrap());
        let mut present = 0;
        let refused = found("the grant's end", async || match world.generation().await {
            Ok(generation) => {
                present = generation;
                None
            }
            Err(status) => Some(status),
        });
        let refused = refused.await;
        assert!(age(present) >= 10 * SECOND, "{fault}: refused after {:?}", age(present));
        assert_eq!(told(&refused).reason, reason, "{fault}");
        assert_eq!(world.grant().await.last_fault.unwrap().reason, seen_as, "{fault}");
        let met = world.sandbox.counters().faults;
        assert!(requests.contains(&met), "{fault}: {met}");

        world.sandbox.clear_faults();
        let next = world.grant().await.next_attempt_time.unwrap();
        let now = Clock::system().now().wall.unix_seconds();
        if reason == "UPSTREAM_REJECTED" {
            assert!(next.seconds <= now + 30, "{fault}: probed at {next:?}, now {now}");
            return;
        }
        assert!(next.seconds <= now + 2, "{fault}: asked again at {next:?}, now {now}");
        let newer = found("a token", async || world.generation().await.ok()).await;
        assert!(newer > present, "{fault}");
    });
    join_all(played).await;
}

#[tokio::test]
async fn upstream_closing_connections_costs_nothing() {
    let world = World::with_faults(&short_grants(), &["keep-alive=0s"]).await;
    let first = found("a token", async || world.generation().await.ok()).await;
    let mut generations = vec![first];
    while generations.len() < 4 {
        let generation = world.generation().await.expect("never refused");
        if generations.last() != Some(&generation) {
            generations.push(generation);
        }
        assert_eq!(world.grant().await.consecutive_failures, 0);
        tokio::time::sleep(SECOND / 50).await;
    }
    let counters = world.sandbox.counters();
    assert_eq!((counters.granted, counters.requests, counters.connections), (4, 4, 4));
}
