//! Every fault of the sandbox, as the upstream client sees it over real TCP.

use std::{sync::Arc, time::Duration};

use grantmint::{
    clock::Clock,
    sandbox::{self, Sandbox},
    source::GrantSource,
};
use tokio::time::Instant;

use super::{STREAMER, failure, fetch, source};
use crate::support::{emulated, until};

const SECOND: Duration = Duration::from_secs(1);

/// A sandbox with this fault, and a source that uses it.
async fn faulty(fault: &str) -> (Sandbox, Arc<dyn GrantSource>) {
    let faults = vec![fault.parse().unwrap_or_else(|error| panic!("{fault}: {error}"))];
    let config = sandbox::Config { faults, ..emulated() };
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let sandbox = Sandbox::bind(any.into(), config, Clock::system()).await.unwrap();
    let url = sandbox.base_url().to_string();
    (sandbox, source(url.trim_end_matches('/'), "allow_origin = \"*\""))
}

/// The expected class, reason and Retry-After in seconds of each fault.
const SEEN: [(&str, &str, &str, Option<u64>); 30] = [
    ("status=400", "resource", "HTTP_STATUS_400", None),
    ("status=401", "credential", "HTTP_STATUS_401", None),
    ("status=403", "credential", "HTTP_STATUS_403", None),
    ("status=404", "resource", "HTTP_STATUS_404", None),
    ("status=410", "resource", "HTTP_STATUS_410", None),
    ("status=429", "throttled", "HTTP_STATUS_429", None),
    ("status=429,retry-after=7", "throttled", "HTTP_STATUS_429", Some(7)),
    ("status=429,retry-after=soon", "throttled", "HTTP_STATUS_429", None),
    (
        "status=429,retry-after=\"Sun, 06 Nov 1994 08:49:37 GMT\"",
        "throttled",
        "HTTP_STATUS_429",
        Some(0),
    ),
    ("status=500", "transient", "HTTP_STATUS_500", None),
    ("status=502", "transient", "HTTP_STATUS_502", None),
    ("status=503", "transient", "HTTP_STATUS_503", None),
    ("status=503,retry-after=3", "throttled", "HTTP_STATUS_503", Some(3)),
    ("status=307", "misconfigured", "HTTP_STATUS_307", None),
    ("reset", "transient", "CONNECTION_LOST", None),
    ("body=grant-null", "transient", "MALFORMED_ANSWER", None),
    ("body=grant-string", "transient", "MALFORMED_ANSWER", None),
    ("body=grant-missing", "transient", "MALFORMED_ANSWER", None),
    ("body=truncated", "transient", "MALFORMED_ANSWER", None),
    ("body=duplicate", "transient", "MALFORMED_ANSWER", None),
    ("body=nested", "transient", "MALFORMED_ANSWER", None),
    ("body-text=[1]", "transient", "MALFORMED_ANSWER", None),
    ("body-text=<html>", "transient", "MALFORMED_ANSWER", None),
    ("body=wrong-sid", "misconfigured", "GRANT_OF_ANOTHER_RESOURCE", None),
    ("body=wrong-streamer", "misconfigured", "GRANT_OF_ANOTHER_RESOURCE", None),
    ("body=wrong-account", "misconfigured", "GRANT_OF_ANOTHER_ACCOUNT", None),
    ("body=huge", "transient", "ANSWER_TOO_LARGE", None),
    ("body=endless", "transient", "ANSWER_TOO_LARGE", None),
    ("body=gzip", "transient", "ENCODED_ANSWER", None),
    ("body=cut", "transient", "CONNECTION_LOST", None),
];

#[tokio::test]
async fn each_fault_has_its_class_and_costs_one_request() {
    for (fault, class, reason, after) in SEEN {
        let (sandbox, source) = faulty(fault).await;
        let started = Instant::now();
        let seen = failure(fetch(&source, STREAMER).await);
        assert!(
            started.elapsed() < 2 * SECOND,
            "{fault} was not reported at once: {:?}",
            started.elapsed()
        );
        let expected = (class, reason.to_owned(), after.map(Duration::from_secs));
        assert_eq!(seen, expected, "{fault}");
        let counters = sandbox.counters();
        assert_eq!((counters.requests, counters.connections), (1, 1), "{fault}");
        let request = sandbox.requests().remove(0);
        assert_eq!(request.fault.as_deref(), Some(fault));
        assert_eq!((request.note("ttl"), request.note("allow_origin")), (Some("60"), Some("*")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_fault_ends_at_2_s_and_leaves_nothing_behind() {
    let slow = ["hang", "body=slow", "latency=1h", "status=500,latency=1h"];
    let cut = slow.map(|fault| async move {
        let (sandbox, source) = faulty(fault).await;
        let started = Instant::now();
        let seen = failure(fetch(&source, STREAMER).await);
        assert_eq!(seen, ("transient", "TIMEOUT".to_owned(), None), "{fault}");
        let took = started.elapsed();
        assert!(took + SECOND / 20 > 2 * SECOND && took < 10 * SECOND, "{fault}: {took:?}");
        until("the connection is closed", async || sandbox.counters().in_flight == 0).await;
        sandbox.clear_faults();
        assert!(fetch(&source, STREAMER).await.is_ok(), "{fault}");
        assert_eq!(
            sandbox.counters().connections,
            2,
            "{fault}: the next request must use a new connection"
        );
    });
    futures_util::future::join_all(cut).await;
}

#[tokio::test]
async fn retry_after_date_gives_the_remaining_time() {
    let (_sandbox, source) = faulty("status=429,retry-after-date=100s").await;
    let (class, _, after) = failure(fetch(&source, STREAMER).await);
    // A date has whole seconds.
    let within = 60 * SECOND..=100 * SECOND;
    assert!(class == "throttled" && within.contains(&after.unwrap()), "{after:?}");
}

#[tokio::test]
async fn grant_has_the_requested_ttl_or_a_shorter_one() {
    let (sandbox, source) = faulty("shorter-life=20s,times=1").await;
    let fetched = fetch(&source, STREAMER).await.unwrap();
    assert_eq!(fetched.granted.ttl(), 40 * SECOND);
    assert_eq!(fetch(&source, STREAMER).await.unwrap().granted.ttl(), 60 * SECOND);
    sandbox.set_fault("latency=10ms".parse().unwrap());
    assert_eq!(fetch(&source, STREAMER).await.unwrap().granted.ttl(), 60 * SECOND);
}

#[tokio::test]
async fn grant_ttl_starts_before_the_upstream_request() {
    let (sandbox, source) = faulty("latency=10ms").await;
    for _ in 0..3 {
        let fetched = fetch(&source, STREAMER).await.unwrap();
        let requested = sandbox.requests().pop().unwrap().at;
        assert!(fetched.anchor.boot <= requested.boot, "{:?} {requested:?}", fetched.anchor);
    }
}

#[tokio::test]
async fn connection_closed_while_idle_fails_no_attempt() {
    let (sandbox, source) = faulty("keep-alive=0s").await;
    for _ in 0..3 {
        assert!(fetch(&source, STREAMER).await.is_ok());
    }
    let counters = sandbox.counters();
    assert_eq!((counters.connections, counters.requests, counters.granted), (3, 3, 3));
}

#[tokio::test]
async fn reset_of_a_kept_connection_is_retried_at_once() {
    let (sandbox, source) = faulty("reset,requests=2").await;
    for _ in 0..2 {
        assert!(fetch(&source, STREAMER).await.is_ok());
    }
    let counters = sandbox.counters();
    assert_eq!((counters.connections, counters.requests, counters.unanswered), (2, 3, 1));
}
