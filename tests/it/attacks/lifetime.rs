//! Calls that would keep their connection open indefinitely, and chunks that are read too late.

use std::time::Duration;

use futures_util::future::join_all;
use grantmint::rpc::proto::{MintOptions, MintTokensRequest, WatchGrantsRequest};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_types::StatusExt;

use super::honest::{Transport, limited};
use crate::{
    binary::{bulk::read, metrics::page},
    frames::call,
    support::{BINARY, mint, reason, resume_index, run_command, series, soon, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_end_with_their_connection_and_can_resume() {
    let serve = limited("connection_age = \"1s\"").await;
    let watch = soon(serve.grants().await.watch_grants(WatchGrantsRequest::default())).await;
    let mut watch = watch.expect("a watch").into_inner();
    let health = soon(serve.health().await.watch(HealthCheckRequest::default())).await;
    let mut health = health.expect("a watch").into_inner();
    let bulk = soon(serve.tokens().await.mint_tokens(series(0, 1_000_000))).await.expect("a bulk");

    let watched = async {
        loop {
            if let Err(status) = soon(watch.message()).await {
                return status;
            }
        }
    };
    let followed = async {
        loop {
            if let Err(status) = soon(health.message()).await {
                return status;
            }
        }
    };
    let streamed = async {
        let (tokens, _, ended) = read(bulk.into_inner(), 0).await;
        let ended = ended.expect("an end that is not OK");
        assert_eq!(resume_index(&ended), i64::try_from(tokens.len()).expect("in range"));
        ended
    };
    for ended in <[_; 3]>::from(tokio::join!(watched, followed, streamed)) {
        let expected = (Code::Unavailable, "STREAM_LIFETIME_REACHED");
        assert_eq!((ended.code(), reason(&ended).as_str()), expected);
        let retry = ended.get_details_retry_info().expect("a time").retry_delay.expect("a time");
        assert!(retry <= Duration::from_millis(250), "{retry:?}");
        assert!(ended.metadata().contains_key("grpc-retry-pushback-ms"));
    }
    soon(serve.tokens().await.mint_token(mint("after", None))).await.expect("a token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_command_resumes_when_connections_end() {
    let serve = limited("connection_age = \"1s\"").await;
    let mut command = Command::new(BINARY);
    command.args(["bulk", "--count", "60000", "--json", "--server", &serve.server]);
    command.env_clear().kill_on_drop(true);
    let ran = run_command(command).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("STREAM_LIFETIME_REACHED"), "{}", ran.stderr);
    assert_eq!(ran.stdout.lines().count(), 60_000, "a token is missing or repeated");
}

async fn unfinished_call_is_reset(transport: Transport) {
    let attacked = transport.limited("connection_age = \"1s\"\nstall = \"10m\"").await;
    let mut client = attacked.with_window(1).await;
    let began = Instant::now();
    let bulk = call(1, "/grantmint.v1.TokenService/MintTokens", &series(0, 1_000_000));
    assert!(client.send(&bulk).await);
    until("it is closed", async || {
        let cut = [("cause", "grace")];
        page(&attacked.serve).await.figure("grantmint_streams_reset_total", &cut) > 0.5
    })
    .await;
    assert!(began.elapsed() >= Duration::from_secs(12), "the grace period was cut short");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unfinished_call_is_reset_with_its_connection() {
    join_all(Transport::BOTH.map(unfinished_call_is_reset)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_chunk_ends_its_bulk() {
    let serve = limited("").await;
    // A third of its remaining life less the margin: 0.33 s.
    let ttl = Some(prost_types::Duration { seconds: 3, nanos: 0 });
    let options = Some(MintOptions { ttl, ..MintOptions::default() });
    let request = MintTokensRequest { options, ..series(5, 1_000_000) };
    let bulk = soon(serve.tokens().await.mint_tokens(request)).await.expect("a bulk");
    let mut chunks = bulk.into_inner();
    let mut first_indices = Vec::new();
    let ended = loop {
        match soon(chunks.message()).await {
            Ok(chunk) => first_indices.push(chunk.expect("the bulk ended with OK").first_index),
            Err(status) => break status,
        }
        // Meanwhile a chunk is ready and waits for flow-control window.
        sleep(Duration::from_millis(700)).await;
    };
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "CHUNK_STALE"));
    let stale = *first_indices.last().expect("a chunk");
    assert_eq!(
        resume_index(&ended),
        stale,
        "the tokens of the stale chunk must be requested again"
    );
    assert!(stale > 5);
}
