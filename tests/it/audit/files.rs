//! The log continues when its file is moved, removed or truncated.

use std::{
    fs::{self, File},
    process::Stdio,
    time::Duration,
};

use serde_json::Value as Json;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
    time::{Instant, timeout},
};

use super::{Audited, minted, record, records};
use crate::support::{BINARY, idles, run, soon, until};

#[tokio::test]
async fn moved_removed_or_truncated_log_is_reopened() {
    let audited = Audited::new("identities = \"clear\"", "");
    let serve = audited.serve().await;
    let mut client = serve.tokens().await;
    let mut mint = async |identity| minted(&mut client, identity).await.expect("a token");
    mint("a").await;
    record(&audited.file, "identity", "a").await;

    // logrotate with a signal.
    fs::rename(&audited.file, audited.in_dir("audit.1")).expect("moved");
    serve.signal("HUP");
    until("it is opened again", async || audited.file.exists()).await;
    mint("b").await;
    record(&audited.file, "identity", "b").await;

    // logrotate without a signal.
    fs::rename(&audited.file, audited.in_dir("audit.2")).expect("moved");
    until("it is opened again", async || audited.file.exists()).await;
    mint("c").await;
    record(&audited.file, "identity", "c").await;

    fs::remove_file(&audited.file).expect("removed");
    until("it is opened again", async || audited.file.exists()).await;
    mint("d").await;
    record(&audited.file, "identity", "d").await;

    // copytruncate: the next record is at the start of the file, not after a hole.
    File::options().write(true).truncate(true).open(&audited.file).expect("emptied");
    mint("e").await;
    record(&audited.file, "identity", "e").await;

    let identities = |name: &str| {
        let all = records(&audited.in_dir(name)).into_iter();
        all.filter_map(|record| record["identity"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    assert_eq!(identities("audit.1"), ["first", "a"]);
    assert_eq!(
        (identities("audit.2"), identities("audit.jsonl")),
        (vec!["b".into()], vec!["e".into()])
    );
}

#[tokio::test]
async fn signal_reopens_the_log_at_once() {
    let audited = Audited::new("", "");
    let serve = audited.serve().await;
    // Without a signal it takes up to a second. One quick round is enough: the machine may be busy.
    let mut quickest = Duration::MAX;
    for round in 0..5 {
        fs::rename(&audited.file, audited.in_dir(&format!("audit.{round}"))).expect("moved");
        let moved = Instant::now();
        serve.signal("HUP");
        until("it is opened again", async || audited.file.exists()).await;
        // The current second may have been nearly over.
        if round > 0 {
            quickest = quickest.min(moved.elapsed());
        }
    }
    assert!(quickest < Duration::from_millis(500), "{quickest:?}");
}

/// Starts a server with its audit log on standard output; its address is read from its log.
async fn to_stdout(audited: &Audited) -> (tokio::process::Child, String) {
    let mut command = Command::new(BINARY);
    command
        .args(["serve", "--sandbox", "--json", "--log-format", "json"])
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
        .args(["--config", audited.config.path()])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().expect("the binary starts");
    let mut log = BufReader::new(child.stderr.take().expect("piped")).lines();
    let server = loop {
        let line = soon(log.next_line()).await.expect("text").expect("a listening server");
        let line: Json = serde_json::from_str(&line).expect("JSON");
        // The addresses, printed as text here.
        if let Some(server) = line["server"].as_str() {
            break server.to_owned();
        }
    };
    tokio::spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
    (child, server)
}

#[tokio::test]
async fn stdout_carries_only_audit_records() {
    let audited = Audited::new("file = \"stdout\"\nidentities = \"clear\"", "");
    let (mut child, server) = to_stdout(&audited).await;
    let mut client = super::client(&server).await;
    until("a token", async || minted(&mut client, "alice").await.is_ok()).await;
    let pid = child.id().expect("a running process").to_string();
    Command::new("kill").args(["-INT", &pid]).status().await.expect("kill runs");
    let mut stdout = String::new();
    soon(child.stdout.take().expect("piped").read_to_string(&mut stdout)).await.expect("text");
    assert!(soon(child.wait()).await.expect("an exit").success());
    let records: Vec<Json> =
        stdout.lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
    assert!(records.iter().all(|record| record["event"].is_string()), "{stdout}");
    assert!(records.iter().any(|record| record["identity"] == "alice"), "{stdout}");
}

#[tokio::test]
async fn stalled_stdout_reader_blocks_neither_calls_nor_exit() {
    let audited = Audited::new("file = \"stdout\"\nidentities = \"clear\"", "");
    let (mut child, server) = to_stdout(&audited).await;
    let mut client = super::client(&server).await;
    until("a token", async || minted(&mut client, "alice").await.is_ok()).await;
    // More records than the queue can hold.
    for _ in 0..4 {
        super::bulk(&mut client, super::large()).await.1.expect("OK");
    }
    minted(&mut client, "alice").await.expect("a token");
    let pid = child.id().expect("a running process");
    idles(pid).await;
    drop(client);
    Command::new("kill").args(["-INT", &pid.to_string()]).status().await.expect("kill runs");
    // The server waits for 2 s.
    let ended = timeout(Duration::from_secs(15), child.wait()).await.expect("it ends in time");
    assert!(ended.expect("a status").success());
}

#[tokio::test]
async fn unopenable_log_prevents_startup() {
    let audited = Audited::new("", "");
    fs::create_dir(&audited.file).expect("a folder");
    let ran = run(&["serve", "--config", audited.config.path()]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("audit.jsonl"), "{}", ran.stderr);
}
