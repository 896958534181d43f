//! Connections that send nothing.

use std::time::Duration;

use grantmint::server::descriptors;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, timeout},
};

use super::honest::limited;
use crate::{
    frames::{
        Conversation, GOAWAY, HEADERS, PREFACE, SETTINGS, call, connect_from, frame, next_frame,
    },
    support::{mint, soon, until},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_block_no_caller() {
    descriptors::raise_limit().expect("permission");
    let serve = limited("").await;
    let mut silent = Vec::new();
    for _ in 0..2_000 {
        silent.push(connect_from([127, 0, 0, 2], serve.address()).await);
    }
    let started = Instant::now();
    let mut tokens = serve.tokens().await;
    soon(tokens.mint_token(mint("new", None))).await.expect("a token");
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());

    // The older connections were closed long before the preface timeout.
    for old in &mut silent[..1_000] {
        let mut rest = Vec::new();
        let ended = timeout(Duration::from_secs(4), old.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "the oldest connection is still open");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connection_over_the_limit_gets_goaway_and_frees_its_slot() {
    let serve = limited("connections = 3").await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut tokens = serve.tokens().await;
        soon(tokens.mint_token(mint("early", None))).await.expect("a token");
        held.push(tokens);
    }
    // Its call arrives with the preface and must not get a response before a slot is free.
    let mut late = connect_from([127, 0, 0, 2], serve.address()).await;
    let requested = call(1, "/grantmint.v1.TokenService/MintToken", &mint("late", None));
    let flight = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &requested].concat();
    soon(late.write_all(&flight)).await.expect("sent");
    let (mut read, _write) = late.into_split();
    let mut reported = None;
    while let Some(frame) = next_frame(&mut read).await {
        assert_ne!(frame.kind, HEADERS, "a response before a slot was free");
        reported = (frame.kind == GOAWAY).then_some(frame).or(reported);
    }
    assert_eq!(reported.expect("GOAWAY").payload[4..8], [0, 0, 0, 11], "ENHANCE_YOUR_CALM");

    held.remove(0);
    until("a slot", async || {
        let mut next = Conversation::begin(serve.address()).await;
        // Expects a settings frame and its acknowledgement, and nothing else.
        let mut frames = Vec::new();
        while let Ok(Some(frame)) = timeout(Duration::from_millis(300), next.next()).await {
            frames.push(frame.kind);
        }
        !frames.contains(&GOAWAY)
    })
    .await;
}
