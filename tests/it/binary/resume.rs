//! Bulk goes on after what heals: a server that drains, dies or has no grant for a while.

use std::{net::TcpListener, process::Stdio};

use grantmint::rpc::proto::MintOptions;
use tokio::process::Command;
use tonic::Code;

use super::bulk::assert_indices;
use crate::support::{
    BINARY, Configured, PATIENCE, Serve, mint, reason, resume_index, series, soon, until,
};

/// A `bulk` under way, writing to a file.
fn bulk(server: &str, count: &str, to: &std::path::Path) -> tokio::process::Child {
    Command::new(BINARY)
        .args(["bulk", "--json", "--count", count, "--server", server, "-o"])
        .arg(to)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts")
}

async fn ended(bulk: tokio::process::Child) -> (Option<i32>, String) {
    let output = tokio::time::timeout(PATIENCE * 2, bulk.wait_with_output()).await;
    let output = output.expect("it ends").expect("a status");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A port that was free a moment ago, for servers that follow one another.
pub(super) fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").to_string()
}

async fn grows(file: &std::path::Path) {
    until("tokens in the file", async || {
        std::fs::metadata(file).ok().filter(|meta| meta.len() > 0).map(|_| ())
    })
    .await;
}

#[tokio::test]
async fn a_bulk_without_a_grant_is_unavailable_and_resumes_when_there_is_one() {
    let serve = Serve::sandboxed(&["--fault", "status=503"]).await;
    let mut client = serve.tokens().await;
    let mut request = series(3, 10);
    request.options =
        Some(MintOptions { max_wait: Some(prost_types::Duration::default()), ..<_>::default() });
    let status = match soon(client.mint_tokens(request.clone())).await {
        Ok(bulk) => soon(bulk.into_inner().message()).await.expect_err("no grant"),
        Err(status) => status,
    };
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unavailable, "GRANT_PENDING"));
    request.start_index = resume_index(&status);
    assert_eq!(request.start_index, 3);
    serve.clear_faults().await;
    serve.first_token().await;
    let mut chunks = soon(client.mint_tokens(request)).await.expect("a bulk").into_inner();
    let chunk = soon(chunks.message()).await.expect("well").expect("a chunk");
    assert_eq!((chunk.first_index, chunk.tokens.len()), (3, 7));
    assert!(soon(chunks.message()).await.expect("well").is_none());
}

#[tokio::test]
async fn the_command_waits_for_a_first_grant() {
    let serve = Serve::sandboxed(&["--fault", "status=503"]).await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("tokens");
    let bulk = bulk(&serve.server, "500", &file);
    // It was turned away at least once.
    until("a call answered UNAVAILABLE", async || {
        let (_, metrics) = serve.page("/metrics").await;
        let unserved = r#"grantmint_tokens_total{method="MintTokens",outcome="unserved"} 0"#;
        (!metrics.contains(unserved)).then_some(())
    })
    .await;
    serve.clear_faults().await;
    let (code, stderr) = ended(bulk).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_indices(&std::fs::read_to_string(file).expect("text"), "user-", 500);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_goes_on_with_the_next_server_after_a_drain_and_after_a_crash() {
    let address = free_port();
    let start = async || Serve::sandboxed(&["--listen", &address]).await;
    let serve = start().await;
    serve.first_token().await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("tokens");
    let bulk = bulk(&serve.server, "60000", &file);
    grows(&file).await;
    serve.signal("INT");
    serve.ended().await;
    let serve = start().await;
    serve.first_token().await;
    let before = std::fs::metadata(&file).expect("there").len();
    until("more tokens", async || {
        (std::fs::metadata(&file).expect("there").len() > before).then_some(())
    })
    .await;
    serve.signal("KILL");
    serve.ended().await;
    let serve = start().await;
    serve.first_token().await;
    let (code, stderr) = ended(bulk).await;
    assert_eq!(code, Some(0), "{stderr}");
    let lines = tokio::task::spawn_blocking(move || {
        let lines = std::fs::read_to_string(file).expect("text");
        assert_indices(&lines, "user-", 60_000);
    });
    lines.await.expect("no index is lost or doubled");
}

#[tokio::test]
async fn the_command_gives_up_when_its_patience_ends() {
    let serve = Serve::sandboxed(&["--fault", "hang"]).await;
    let ran = crate::support::run(&[
        "bulk",
        "--count",
        "5",
        "--patience",
        "1s",
        "--server",
        &serve.server,
    ])
    .await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("GRANT_PENDING"), "{}", ran.stderr);
    assert!(ran.stderr.contains("0 of 5 tokens"), "{}", ran.stderr);
}

#[tokio::test]
async fn a_waiting_call_gets_its_token_as_soon_as_there_is_a_grant() {
    let config = Configured::profile("grant_ttl = \"12s\"");
    let serve = Serve::configured(&config, &["--fault", "status=503"]).await;
    let mut client = serve.tokens().await;
    let options = MintOptions {
        max_wait: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        ..<_>::default()
    };
    let waiting =
        tokio::spawn(async move { client.mint_token(mint("patient", Some(options))).await });
    until("a refused attempt", async || {
        (serve.counters().await["requests"].as_u64() > Some(1)).then_some(())
    })
    .await;
    serve.clear_faults().await;
    let answer = soon(waiting).await.expect("no panic");
    assert!(answer.is_ok(), "{answer:?}");
}
