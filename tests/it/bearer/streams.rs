//! Streams end when the token that opened them expires; connections stay open as long as their
//! calls carry valid tokens.

use std::time::Duration;

use grantmint::rpc::proto::{
    MintOptions, MintTokensRequest, WatchGrantsRequest, grant_service_client::GrantServiceClient,
    token_service_client::TokenServiceClient,
};
use serde_json::json;
use tokio::{io::AsyncReadExt, net::TcpStream};
use tonic::{Code, Status, Streaming};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
};

use super::{bearing, call, now, refusal, serve_with, signer::Signers};
use crate::{
    frames::{PREFACE, SETTINGS, frame},
    support::{found, resume_index, series, soon},
};

/// How a stream ends.
async fn end<T>(mut stream: Streaming<T>) -> Status {
    loop {
        match soon(stream.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ended with OK"),
            Err(status) => return status,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_streams_end_when_their_token_expires() {
    let signers = Signers::new("k");
    let slow = "bulk_tokens = { rate = 2, burst = 16 }";
    let (serve, _config) = serve_with(&signers, "", slow).await;
    let channel = serve.channel().await;
    found("a token", async || call(&channel, &signers.token(&json!({}))).await.ok()).await;

    let expires = now() + 3;
    let token = signers.token(&json!({"exp": expires}));
    let (mut tokens, mut grants) =
        (TokenServiceClient::new(channel.clone()), GrantServiceClient::new(channel.clone()));
    // The second chunk waits for quota, for longer than the token is valid.
    let max_wait = Some(prost_types::Duration { seconds: 10, nanos: 0 });
    let options = Some(MintOptions { max_wait, ..<_>::default() });
    let request = MintTokensRequest { options, ..series(0, 100) };
    let bulk = soon(tokens.mint_tokens(bearing(request, &token))).await.expect("a stream");
    let watch = soon(grants.watch_grants(bearing(WatchGrantsRequest::default(), &token))).await;
    let mut health = HealthClient::new(channel.clone());
    let health = soon(health.watch(bearing(HealthCheckRequest::default(), &token))).await;
    let questions = futures_util::stream::pending::<ServerReflectionRequest>();
    let mut reflection = ServerReflectionClient::new(channel.clone());
    let reflection = soon(reflection.server_reflection_info(bearing(questions, &token))).await;
    let ends = tokio::join!(
        end(bulk.into_inner()),
        end(watch.expect("a stream").into_inner()),
        end(health.expect("a stream").into_inner()),
        end(reflection.expect("a stream").into_inner()),
    );
    let ended = now();
    assert!((expires..=expires + 1).contains(&ended), "{}", ended - expires);
    for status in [&ends.0, &ends.1, &ends.2, &ends.3] {
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        let expected = ("CALLER_UNAUTHENTICATED".to_owned(), Some("expired".to_owned()));
        assert_eq!(refusal(status), expected);
    }
    assert_eq!(resume_index(&ends.0), 16);
    // The connection continues with another token.
    assert!(call(&channel, &signers.token(&json!({}))).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_keep_an_uncertified_connection_open() {
    let signers = Signers::new("k");
    let (serve, _config) = serve_with(&signers, "", "").await;
    let channel = serve.channel().await;
    let token = signers.token(&json!({}));
    found("a token", async || call(&channel, &token).await.ok()).await;
    let mut grants = GrantServiceClient::new(channel.clone());
    let watch = soon(grants.watch_grants(bearing(WatchGrantsRequest::default(), &token))).await;
    let mut watch = watch.expect("a stream").into_inner();
    let mut stranger = TcpStream::connect(serve.address()).await.expect("a connection");
    let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    tokio::io::AsyncWriteExt::write_all(&mut stranger, &hello).await.expect("sent");
    let started = tokio::time::Instant::now();
    let mut read = Vec::new();
    let _ = soon(stranger.read_to_end(&mut read)).await;
    assert!((10..=20).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    // As old, and with a watch that a token opened.
    let reported = async {
        loop {
            if let Err(status) = watch.message().await {
                return status;
            }
        }
    };
    let reported = tokio::time::timeout(Duration::from_millis(1_500), reported).await;
    assert!(reported.is_err(), "GOAWAY was sent: {reported:?}");
    assert!(call(&channel, &token).await.is_ok());
}
