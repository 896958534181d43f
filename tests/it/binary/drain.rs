//! Shutdown: signals, open work, and what must not delay the exit.

use std::time::Duration;

use grantmint::{
    provider::twilio_live::DEMO_API_KEY_SECRET,
    rpc::proto::{
        MintOptions, MintTokensResponse, WatchGrantsRequest,
        token_service_client::TokenServiceClient,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};
use tonic::{Code, Streaming, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use super::{bulk::read, metrics::page};
use crate::support::{Configured, Serve, found, mint, reason, resume_index, series, soon, until};

/// `serve --sandbox` with this `[server]` table.
async fn serve(server: &str, arguments: &[&str]) -> Serve {
    let top = format!("[server]\n{server}");
    let config = Configured::with_secret(&top, "", DEMO_API_KEY_SECRET);
    Serve::configured(&config, arguments).await
}

/// A connection that sends nothing.
async fn silent(serve: &Serve) -> TcpStream {
    let address = serve.server.strip_prefix("http://").expect("a URL");
    soon(TcpStream::connect(address)).await.expect("a connection")
}

/// A connection that completed the handshake and acknowledges nothing: in a drain it stays open
/// until keep-alive closes it.
async fn mute(serve: &Serve) -> TcpStream {
    const SETTINGS_ACKNOWLEDGED: [u8; 9] = [0, 0, 0, 4, 1, 0, 0, 0, 0];
    let mut mute = silent(serve).await;
    mute.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("sent");
    let mut heard = Vec::new();
    while !heard.windows(9).any(|frame| frame == SETTINGS_ACKNOWLEDGED) {
        let count = soon(mute.read_buf(&mut heard)).await.expect("settings");
        assert!(count > 0, "closed before the acknowledgement");
    }
    mute
}

/// A bulk that cannot end: its first chunk is in flight and larger than the client's window.
async fn stuck_bulk(serve: &Serve) -> Streaming<MintTokensResponse> {
    let endpoint = Endpoint::from_shared(serve.server.clone()).expect("a URL");
    let channel = soon(endpoint.initial_stream_window_size(1).connect()).await;
    let mut client = TokenServiceClient::new(channel.expect("a connection"));
    let bulk = soon(client.mint_tokens(series(0, 1_000_000))).await.expect("a bulk");
    let none = r#"grantmint_tokens_total{method="MintTokens",outcome="minted"} 0"#;
    until("a chunk is minted", async || !serve.page("/metrics").await.1.contains(none)).await;
    bulk.into_inner()
}

#[tokio::test]
async fn open_streams_end_with_draining_after_the_delay() {
    let serve = serve("drain_delay = \"1s\"\ndrain_grace = \"10m\"", &[]).await;
    serve.first_token().await;
    let bulk = soon(serve.tokens().await.mint_tokens(series(0, 1_000_000))).await.expect("a bulk");
    let mut grants = soon(serve.grants().await.watch_grants(WatchGrantsRequest::default()))
        .await
        .expect("a watch")
        .into_inner();
    assert!(soon(grants.message()).await.expect("no error").expect("a snapshot").snapshot);
    let mut health = soon(serve.health().await.watch(HealthCheckRequest::default()))
        .await
        .expect("a watch")
        .into_inner();
    soon(health.message()).await.expect("no error").expect("a status");

    let reported = Instant::now();
    serve.signal("TERM");
    let ended = found("the watch's end", async || soon(grants.message()).await.err()).await;
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "DRAINING"));
    assert!(ended.metadata().contains_key("grpc-retry-pushback-ms"));
    assert!(reported.elapsed() >= Duration::from_secs(1), "it ended before the delay");
    // The rest of the window is still read, then the stream ends.
    let (tokens, _, ended) = read(bulk.into_inner(), 0).await;
    let ended = ended.expect("an incomplete bulk ended with OK");
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "DRAINING"));
    assert_eq!(resume_index(&ended), i64::try_from(tokens.len()).expect("in range"));
    until("the health watch's end", async || !matches!(soon(health.message()).await, Ok(Some(_))))
        .await;
    let (status, log) = serve.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test]
async fn sigint_has_no_delay_and_answers_waiting_calls() {
    let serve = serve("drain_delay = \"10m\"\ndrain_grace = \"10m\"", &["--fault", "hang"]).await;
    let options = MintOptions {
        max_wait: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        ..<_>::default()
    };
    let mut client = serve.tokens().await;
    let waiting =
        tokio::spawn(async move { client.mint_token(mint("patient", Some(options))).await });
    let started = r#"grpc_server_started_total{grpc_type="unary",grpc_service="grantmint.v1.TokenService",grpc_method="MintToken"} 1"#;
    until("a waiting call", async || serve.page("/metrics").await.1.contains(started)).await;
    serve.signal("INT");
    let answer = soon(waiting).await.expect("no panic").expect_err("no grant");
    assert_eq!((answer.code(), reason(&answer).as_str()), (Code::Unavailable, "DRAINING"));
    let (status, log) = serve.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test]
async fn silent_connections_do_not_delay_exit() {
    let serve = serve("drain_grace = \"10m\"", &[]).await;
    serve.first_token().await;
    let _silent = silent(&serve).await;
    let mut half = silent(&serve).await;
    half.write_all(b"PRI * HTTP/2.0\r\n").await.expect("sent");
    let admin = serve.admin.strip_prefix("http://").expect("a URL");
    let _idle = soon(TcpStream::connect(admin)).await.expect("a connection");
    serve.signal("INT");
    let (status, log) = serve.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test]
async fn unfinished_work_is_closed_after_the_grace_period() {
    let serve = serve("drain_delay = \"0s\"\ndrain_grace = \"1s\"", &[]).await;
    serve.first_token().await;
    let bulk = stuck_bulk(&serve).await;
    serve.signal("TERM");
    let (status, log) = serve.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
    drop(bulk);
}

#[tokio::test]
async fn second_signal_closes_connections_at_once() {
    for (first, second) in [("TERM", "TERM"), ("TERM", "INT"), ("INT", "TERM")] {
        let serve = serve("drain_delay = \"10m\"\ndrain_grace = \"10m\"", &[]).await;
        serve.first_token().await;
        let bulk = stuck_bulk(&serve).await;
        serve.signal(first);
        until("not ready", async || serve.page("/readyz").await.0 == 503).await;
        serve.signal(second);
        let (status, log) = serve.ended().await;
        assert_eq!(status.code(), Some(0), "{first} {second}: {log}");
        drop(bulk);
    }
}

#[tokio::test]
async fn hanging_dns_lookup_does_not_delay_exit() {
    let config = Configured::profile("upstream = \"https://upstream.invalid\"");
    let serve = Serve::start(&["--config", config.path()]).await;
    let answer = soon(serve.tokens().await.mint_token(mint("early", None))).await;
    assert_eq!(reason(&answer.expect_err("no grant")), "GRANT_PENDING");
    serve.signal("INT");
    let (status, log) = serve.ended().await;
    assert_eq!(status.code(), Some(0), "{log}");
}

#[tokio::test]
async fn connection_outlives_the_preface_timeout() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let mut watch = soon(serve.health().await.watch(HealthCheckRequest::default()))
        .await
        .expect("a watch")
        .into_inner();
    soon(watch.message()).await.expect("no error");
    // By then a silent connection is closed; this one has sent a request.
    let mut mute = silent(&serve).await;
    let mut heard = Vec::new();
    // Read to the end: the connection is closed with or without a reset.
    let _ = soon(mute.read_to_end(&mut heard)).await;
    serve.signal("TERM");
    until("not serving", async || {
        let status = soon(watch.message()).await.expect("still open").expect("an open stream");
        status.status() == ServingStatus::NotServing
    })
    .await;
}

#[tokio::test]
async fn metrics_report_the_drain_phase() {
    let phase = async |serve: &Serve, expected: f64| {
        until("the phase", async || {
            let phase = page(serve).await.figure("grantmint_drain_phase", &[]);
            (phase - expected).abs() < 0.5
        })
        .await;
    };
    for (delay, expected) in [("10m", 1.0), ("0s", 2.0)] {
        let server = format!("drain_delay = \"{delay}\"\ndrain_grace = \"10m\"");
        let serve = serve(&server, &["--fault", "hang"]).await;
        let mute = mute(&serve).await;
        phase(&serve, 0.0).await;
        let mut client = serve.tokens().await;
        let waiting = tokio::spawn(async move {
            let max_wait = Some(prost_types::Duration { seconds: 10, nanos: 0 });
            let options = MintOptions { max_wait, ..<_>::default() };
            client.mint_token(mint("patient", Some(options))).await
        });
        until("a waiting call", async || {
            page(&serve).await.figure("grantmint_waiting_calls", &[]) > 0.5
        })
        .await;
        serve.signal("TERM");
        phase(&serve, expected).await;
        if expected > 1.5 {
            let answer = soon(waiting).await.expect("no panic").expect_err("no grant");
            assert_eq!(reason(&answer), "DRAINING");
            // The reason is not a missing grant: another server has one.
            let unserved = [("method", "MintToken"), ("outcome", "unserved")];
            let figure = page(&serve).await.figure("grantmint_tokens_total", &unserved);
            assert!(figure < 0.5, "{figure}");
        }
        serve.signal("TERM");
        assert_eq!(serve.ended().await.0.code(), Some(0));
        drop(mute);
    }
}
