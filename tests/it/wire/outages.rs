//! Faults of a socket, as callers and the upstream see them over real TCP. `timeline::outages`
//! tests recovery times to the millisecond, and all other faults.

use std::{ops::RangeInclusive, time::Duration};

use futures_util::future::join_all;
use grantmint::{
    clock::Clock,
    rpc::proto::{Grant, ListGrantsRequest, MintOptions},
};
use tonic::Status;

use super::harness::{TestServer, VJ, profile, reported_error};
use crate::support::found;

const SECOND: Duration = Duration::from_secs(1);

/// A profile with grants of 12 s: no token is minted with a grant that is 10 s old.
fn short_grants() -> String {
    profile("live", &VJ[..1], "grant_ttl = \"12s\"")
}

impl TestServer {
    async fn grant(&self) -> Grant {
        let list = self.grants().list_grants(ListGrantsRequest::default()).await;
        list.unwrap().into_inner().grants.remove(0)
    }

    /// The generation of a token, without waiting.
    async fn generation(&self) -> Result<i64, Status> {
        let max_wait = Some(prost_types::Duration::default());
        let minted = self.mint("viewer", MintOptions { max_wait, ..<_>::default() }).await?;
        Ok(minted.validity.unwrap().generation)
    }
}

/// The time since the request for a generation's grant.
fn age(generation: i64) -> Duration {
    let now = Clock::system().now().wall.unix_micros();
    Duration::from_micros(u64::try_from(now - generation).unwrap())
}

/// A fault that outlasts a grant: its reason, the error after the grant's expiry, and the number of
/// requests between 1 and 3.5 s of the grant's age.
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
        let server = TestServer::of(&short_grants()).await;
        server.sandbox.set_fault(fault.parse().unwrap());
        let mut present = 0;
        let refused = found("the grant's expiry", async || match server.generation().await {
            Ok(generation) => {
                present = generation;
                None
            }
            Err(status) => Some(status),
        });
        let refused = refused.await;
        assert!(age(present) >= 10 * SECOND, "{fault}: refused after {:?}", age(present));
        assert_eq!(reported_error(&refused).reason, reason, "{fault}");
        assert_eq!(server.grant().await.last_fault.unwrap().reason, seen_as, "{fault}");
        let met = server.sandbox.counters().faults;
        assert!(requests.contains(&met), "{fault}: {met}");

        server.sandbox.clear_faults();
        let next = server.grant().await.next_attempt_time.unwrap();
        let now = Clock::system().now().wall.unix_seconds();
        if reason == "UPSTREAM_REJECTED" {
            assert!(next.seconds <= now + 30, "{fault}: next probe at {next:?}, now {now}");
            return;
        }
        assert!(next.seconds <= now + 2, "{fault}: next retry at {next:?}, now {now}");
        let newer = found("a token", async || server.generation().await.ok()).await;
        assert!(newer > present, "{fault}");
    });
    join_all(played).await;
}

#[tokio::test]
async fn upstream_closing_connections_costs_nothing() {
    let server = TestServer::with_faults(&short_grants(), &["keep-alive=0s"]).await;
    let first = found("a token", async || server.generation().await.ok()).await;
    let mut generations = vec![first];
    while generations.len() < 4 {
        let generation = server.generation().await.expect("a call was refused");
        if generations.last() != Some(&generation) {
            generations.push(generation);
        }
        assert_eq!(server.grant().await.consecutive_failures, 0);
        tokio::time::sleep(SECOND / 50).await;
    }
    let counters = server.sandbox.counters();
    assert_eq!((counters.granted, counters.requests, counters.connections), (4, 4, 4));
}
