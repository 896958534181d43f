//! Bulk resumes after temporary failures: a server that drains, exits or has no grant for a while.

use std::process::Stdio;

use grantmint::{
    clock::Clock, provider::twilio_live::DEMO_API_KEY_SECRET, rpc::proto::MintOptions,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};
use tonic::Code;

use super::bulk::assert_indices;
use crate::support::{
    BINARY, Configured, Serve, reason, reserved_port, resume_index, run, series, soon, until,
};

/// A running `bulk` of this many tokens.
fn bulk(server: &str, count: usize) -> Child {
    Command::new(BINARY)
        .args(["bulk", "--json", "--server", server, "--count", &count.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts")
}

/// The exit code, and the output that was not read.
async fn ended(bulk: Child) -> (Option<i32>, String, String) {
    let output = soon(bulk.wait_with_output()).await.expect("a status");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

async fn grows(file: &std::path::Path) {
    until("tokens in the file", async || std::fs::metadata(file).is_ok_and(|file| file.len() > 0))
        .await;
}

#[tokio::test]
async fn bulk_without_a_grant_resumes_when_one_arrives() {
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
    let chunk = soon(chunks.message()).await.expect("no error").expect("a chunk");
    assert_eq!((chunk.first_index, chunk.tokens.len()), (3, 7));
    assert!(soon(chunks.message()).await.expect("no error").is_none());
}

#[tokio::test]
async fn the_command_waits_for_a_first_grant() {
    let serve = Serve::sandboxed(&["--fault", "status=503"]).await;
    let bulk = bulk(&serve.server, 500);
    // It was refused at least once.
    until("a call that failed with UNAVAILABLE", async || {
        let (_, metrics) = serve.page("/metrics").await;
        let unserved = r#"grantmint_tokens_total{method="MintTokens",outcome="unserved"} 0"#;
        !metrics.contains(unserved)
    })
    .await;
    serve.clear_faults().await;
    let (code, tokens, stderr) = ended(bulk).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_indices(&tokens, "user-", 500);
    // It reported this once, and the number of retries at the end.
    let notes = stderr.lines().filter(|line| line.starts_with(r#"{"note":{"message":"waiting "#));
    assert_eq!(notes.count(), 1, "{stderr}");
    assert!(stderr.contains(" s: no grant has been received yet (GRANT_PENDING)"), "{stderr}");
    let waits = &summary(&stderr)["waits"];
    assert!(waits["times"]["GRANT_PENDING"].as_u64() > Some(0), "{waits}");
    assert!(waits["seconds"].as_f64() > Some(0.0), "{waits}");
}

#[tokio::test]
async fn command_resumes_on_another_server_after_drain_or_crash() {
    const COUNT: usize = 20_000;
    let port = reserved_port();
    let address = port.local_addr().expect("an address").to_string();
    let top = "[server]\ndrain_grace = \"10m\"";
    let config = Configured::with_secret(top, "", DEMO_API_KEY_SECRET);
    let start = async || Serve::configured(&config, &["--listen", &address]).await;
    let serve = start().await;
    serve.first_token().await;
    // Its progress is limited by this test's reading, except for about 4,000 tokens in windows and
    // buffers.
    let mut bulk = bulk(&serve.server, COUNT);
    let mut lines = BufReader::new(bulk.stdout.take().expect("piped")).lines();
    let mut read = Vec::new();
    let mut read_to = async |count: usize| {
        while read.len() < count
            && let Some(line) = soon(lines.next_line()).await.expect("text")
        {
            read.push(line);
        }
    };

    read_to(1).await;
    serve.signal("INT");
    // The output must be read, or the bulk cannot end.
    tokio::select! {
        _ = serve.ended() => {}
        () = read_to(COUNT) => {}
    }
    let serve = start().await;
    read_to(COUNT / 2).await;
    serve.signal("KILL");
    serve.ended().await;
    let _serve = start().await;
    read_to(COUNT).await;
    let (code, _, stderr) = ended(bulk).await;
    // On a slow machine the first tokens expire before the last are minted.
    assert!(matches!(code, Some(0 | 4)), "{stderr}");
    assert_indices(&read.join("\n"), "user-", COUNT);
}

#[tokio::test]
async fn command_gives_up_after_its_retry_limit() {
    let serve = Serve::sandboxed(&["--fault", "hang"]).await;
    let bulk = ["bulk", "--count", "5", "--patience", "3s", "--server", &serve.server];
    let ran = run(&bulk).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(3), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("GRANT_PENDING"), "{}", ran.stderr);
    assert!(ran.stderr.contains("0 of 5 tokens"), "{}", ran.stderr);
}

/// A bulk's summary: its last JSON line before a failure.
fn summary(stderr: &str) -> Value {
    let objects = stderr.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    let mut summaries = objects.filter_map(|object| object.get("summary").cloned());
    summaries.next_back().unwrap_or_else(|| panic!("no summary: {stderr}"))
}

/// Waits until the token on this line can no longer be used.
async fn past_use(line: &str) {
    let line: Value = serde_json::from_str(line).expect("JSON");
    let use_by = humantime::parse_rfc3339(line["use_by_time"].as_str().expect("a time"));
    let use_by = use_by.expect("a time") + std::time::Duration::from_secs(1);
    until("a token past its use", async || {
        let now = Clock::system().now().wall;
        let now = std::time::UNIX_EPOCH
            + std::time::Duration::from_secs(now.unix_seconds().unsigned_abs());
        now > use_by
    })
    .await;
}

#[tokio::test]
async fn bulk_reports_how_many_tokens_have_expired() {
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
    // More than pipe and buffers can hold: the bulk cannot end before it is read.
    let mut lines = BufReader::new(bulk.stdout.take().expect("piped")).lines();
    let first = soon(lines.next_line()).await.expect("read").expect("a line");
    past_use(&first).await;
    let mut count = 1;
    while soon(lines.next_line()).await.expect("read").is_some() {
        count += 1;
    }
    let (code, _, stderr) = ended(bulk).await;
    assert_eq!((count, code), (3_000, Some(4)), "{stderr}");
    let summary = summary(&stderr);
    assert_eq!((&summary["tokens"], &summary["of"]), (&3_000.into(), &3_000.into()), "{summary}");
    let past_use = summary["past_use"].as_u64().expect("a number");
    assert!((1..=3_000).contains(&past_use), "{summary}");
}

#[tokio::test]
async fn bulk_reports_a_lost_server_and_the_missing_tokens() {
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
        let line = soon(notes.next_line()).await;
        line.expect("read").expect("a line")
    };
    let trouble = note().await;
    assert!(trouble.contains("waiting ") && trouble.contains("no connection"), "{trouble}");
    let mut all = String::new();
    while !all.contains("\"error\"") {
        all = format!("{all}{}\n", note().await);
    }
    let summary = summary(&all);
    assert!(summary["past_use"].as_u64() > Some(0), "{summary}");
    assert!(summary["tokens"].as_u64() >= summary["past_use"].as_u64(), "{summary}");
    assert_eq!(soon(bulk.wait()).await.expect("an exit").code(), Some(3), "{all}");
}
