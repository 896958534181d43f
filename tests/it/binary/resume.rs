//! Bulk goes on after what heals: a server that drains, dies or has no grant for a while.

use std::{net::TcpListener, process::Stdio};

use grantmint::{clock::Clock, rpc::proto::MintOptions};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
};
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
    // On a slow machine the first tokens end before the last are made.
    assert!(matches!(code, Some(0 | 4)), "{stderr}");
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

/// A bulk's summary, which is the last thing that it says to machines but its failure.
fn summary(stderr: &str) -> Value {
    let objects = stderr.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut summaries = objects.filter_map(|object| object.get("summary").cloned());
    summaries.next_back().unwrap_or_else(|| panic!("no summary: {stderr}"))
}

/// Waits until a token of this line is past its use.
async fn past_use(line: &str) {
    let line: Value = serde_json::from_str(line).expect("JSON");
    let use_by = humantime::parse_rfc3339(line["use_by_time"].as_str().expect("a time"));
    let use_by = use_by.expect("a time") + std::time::Duration::from_secs(1);
    until("a token past its use", async || {
        let now = Clock::system().now().wall;
        let now = std::time::UNIX_EPOCH
            + std::time::Duration::from_secs(now.unix_seconds().unsigned_abs());
        (now > use_by).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_bulk_that_outlives_its_tokens_says_how_many_are_lost() {
    let config = Configured::profile("grant_ttl = \"12s\"");
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let mut bulk = Command::new(BINARY)
        .args(["bulk", "--json", "--count", "3000", "--server", &serve.server])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    // More than pipe and buffers take: it cannot end before its reader reads on.
    let mut lines = BufReader::new(bulk.stdout.take().expect("piped")).lines();
    let first = soon(lines.next_line()).await.expect("read").expect("a line");
    past_use(&first).await;
    let mut count = 1;
    while soon(lines.next_line()).await.expect("read").is_some() {
        count += 1;
    }
    let (code, stderr) = ended(bulk).await;
    assert_eq!((count, code), (3_000, Some(4)), "{stderr}");
    let summary = summary(&stderr);
    assert_eq!((&summary["tokens"], &summary["of"]), (&3_000.into(), &3_000.into()), "{summary}");
    let dead = summary["past_use"].as_u64().expect("a number");
    assert!((1..=3_000).contains(&dead), "{summary}");
}

#[tokio::test]
async fn a_bulk_whose_server_is_gone_says_so_at_once_and_at_the_end_what_is_lost() {
    let config = Configured::profile("grant_ttl = \"12s\"");
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("tokens");
    let mut bulk = Command::new(BINARY)
        .args(["bulk", "--json", "--count", "100000000", "--patience", "12s"])
        .args(["--server", &serve.server, "-o"])
        .arg(&file)
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    grows(&file).await;
    serve.signal("KILL");
    serve.ended().await;
    let mut notes = BufReader::new(bulk.stderr.take().expect("piped")).lines();
    let mut note = async || {
        let line = tokio::time::timeout(PATIENCE * 2, notes.next_line()).await.expect("it speaks");
        line.expect("read").expect("a line")
    };
    let trouble = note().await;
    assert!(trouble.contains("goes on by itself after token "), "{trouble}");
    let mut all = String::new();
    while !all.contains("\"error\"") {
        all = format!("{all}{}\n", note().await);
    }
    let summary = summary(&all);
    assert!(summary["past_use"].as_u64() > Some(0), "{summary}");
    assert!(summary["tokens"].as_u64() >= summary["past_use"].as_u64(), "{summary}");
    assert_eq!(soon(bulk.wait()).await.expect("it ends").code(), Some(3), "{all}");
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
