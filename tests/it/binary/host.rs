//! Faults of the host: logs that cannot be written, and a process that is stopped.

use std::{
    fs::File,
    io::{self, BufRead, Read, Write},
    process::Stdio,
    time::{Duration, UNIX_EPOCH},
};

use futures_util::future::join_all;
use grantmint::{
    clock::{Clock, WallTime},
    rpc::proto::{MintOptions, MintTokensRequest, Validity},
};
use rustix::io::ioctl_fionbio;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::Command,
    sync::mpsc,
    time::sleep,
};
use tonic::Code;

use crate::support::{BINARY, Configured, Serve, found, mint, reason, run, series, soon};

/// More log lines than a pipe and the server's queue can hold.
const CALLS: usize = 1_000;

/// Sequential calls, all of which must succeed.
async fn mints(serve: &Serve) {
    let mut tokens = serve.tokens().await;
    for _ in 0..CALLS {
        soon(tokens.mint_token(mint("alice", None))).await.expect("a token");
    }
}

#[tokio::test]
async fn unread_log_does_not_block_the_service() {
    let (mut unread, log) = io::pipe().expect("a pipe");
    let serve = Serve::logging_to(log.into(), &["--sandbox"]).await;
    serve.first_token().await;
    mints(&serve).await;
    serve.idles().await;
    serve.first_token().await;
    serve.signal("TERM");
    assert_eq!(serve.ended().await.0.code(), Some(0));
    let mut log = String::new();
    unread.read_to_string(&mut log).expect("text");
    assert!(!log.contains("stopped"), "no line was dropped: {} bytes", log.len());
}

#[tokio::test]
async fn log_resumes_when_read_again() {
    let (unread, log) = io::pipe().expect("a pipe");
    let serve = Serve::logging_to(log.into(), &["--sandbox"]).await;
    serve.first_token().await;
    mints(&serve).await;
    let (lines, mut read) = mpsc::unbounded_channel();
    let again = Clock::system().now().wall;
    std::thread::spawn(move || {
        for line in io::BufReader::new(unread).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    // New events are logged within a second.
    let new = format!("{{\"timestamp\":\"{}", log_time(again));
    found("a current line", async || {
        serve.first_token().await;
        let mut lines = std::iter::from_fn(|| read.try_recv().ok());
        lines.find(|line| line.starts_with("{\"timestamp\"") && *line >= new)
    })
    .await;
    let took = Clock::system().now().wall.since(again);
    assert!(took < Duration::from_secs(1), "{took:?}");

    serve.signal("TERM");
    let stopped = async {
        while let Some(line) = read.recv().await {
            if line.contains("\"stopped\"") {
                return true;
            }
        }
        false
    };
    assert!(soon(stopped).await, "the last line");
    assert_eq!(serve.ended().await.0.code(), Some(0));
}

/// A time in the format of the log.
fn log_time(at: WallTime) -> String {
    let since_epoch = Duration::from_micros(at.unix_micros().unsigned_abs());
    humantime::format_rfc3339_micros(UNIX_EPOCH + since_epoch).to_string()
}

#[tokio::test]
async fn log_on_a_full_disk_does_not_block_the_service() {
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let serve = Serve::logging_to(Stdio::from(full), &["--sandbox"]).await;
    serve.first_token().await;
    serve.idles().await;
    serve.first_token().await;
    serve.signal("INT");
    assert_eq!(serve.ended().await.0.code(), Some(0));
}

/// A full pipe: a write to it blocks until it is read.
fn full_pipe() -> (io::PipeReader, io::PipeWriter) {
    let (unread, mut writer) = io::pipe().expect("a pipe");
    ioctl_fionbio(&writer, true).expect("permission");
    while writer.write(&[b'.'; 4_096]).is_ok() {}
    ioctl_fionbio(&writer, false).expect("permission");
    (unread, writer)
}

#[tokio::test]
async fn unread_address_output_does_not_block_the_server() {
    let (_unread, pipe) = full_pipe();
    let (closed, broken) = io::pipe().expect("a pipe");
    drop(closed);
    let full_disk = File::options().write(true).open("/dev/full").expect("/dev/full");
    for stdout in [Stdio::from(full_disk), Stdio::from(pipe), Stdio::from(broken)] {
        let mut serve = Command::new(BINARY)
            .args(["serve", "--sandbox", "--listen", "127.0.0.1:0"])
            .args(["--admin-listen", "127.0.0.1:0", "--log-format", "json"])
            .stdout(stdout)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let mut log = BufReader::new(serve.stderr.take().expect("piped")).lines();
        let address = found("the listening address", async || {
            let line = soon(log.next_line()).await.expect("text").expect("a running server");
            let line: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            let listening = line["message"] == "listening";
            listening.then(|| line["server"].as_str().expect("an address").to_owned())
        })
        .await;
        let minted = run(&["mint", "alice", "--server", &format!("http://{address}")]).await;
        assert_eq!(minted.code, Some(0), "{}", minted.stderr);
    }
}

/// Whether a token that was just received can still be used.
fn is_usable(validity: Option<Validity>) -> bool {
    let use_by = validity.and_then(|validity| validity.use_by_time).expect("a use-by time");
    let use_by = use_by.seconds * 1_000_000 + i64::from(use_by.nanos) / 1_000;
    Clock::system().now().wall.unix_micros() < use_by
}

#[tokio::test]
async fn resumed_process_refreshes_an_expired_grant_at_once() {
    let config = Configured::profile("grant_ttl = \"12s\"");
    let serve = Serve::configured(&config, &[]).await;
    let first = serve.first_token().await.validity.expect("a validity").generation;
    serve.signal("STOP");
    sleep(Duration::from_secs(11)).await;
    let resumed_at = Clock::system().now().wall.unix_micros();
    serve.signal("CONT");
    let next = serve.first_token().await.validity.expect("a validity").generation;
    assert!(next > first);
    // A generation contains the time of its request.
    let later = Duration::from_micros(
        u64::try_from(next - resumed_at).expect("a request after the resumption"),
    );
    assert!(later < Duration::from_secs(1), "{later:?}");
    assert_eq!(serve.counters().await["requests"].as_u64(), Some(2));
}

#[tokio::test]
async fn process_stopped_past_expiry_returns_no_expired_grant() {
    let config = Configured::profile("grant_ttl = \"12s\"\nrefresh_after = \"3s\"");
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let tokens = serve.tokens().await;
    // The next grant does not arrive, so the first check finds the expired one.
    serve.set_fault("hang").await;
    serve.signal("STOP");
    // The calls are sent while the process is stopped, and do not wait.
    let options =
        MintOptions { max_wait: Some(prost_types::Duration::default()), ..<_>::default() };
    let calls = (0..50).map(|index| {
        let mut tokens = tokens.clone();
        let request = mint(&format!("viewer-{index}"), Some(options.clone()));
        tokio::spawn(async move {
            let answer = tokens.mint_token(request).await?.into_inner();
            Ok::<_, tonic::Status>(is_usable(answer.validity))
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut bulks = tokens.clone();
    let max_wait = Some(prost_types::Duration { seconds: 10, nanos: 0 });
    let patient = MintOptions { max_wait, ..<_>::default() };
    let bulk = tokio::spawn(async move {
        let request = MintTokensRequest { options: Some(patient), ..series(0, 10_000) };
        let mut chunks = bulks.mint_tokens(request).await?.into_inner();
        while let Some(chunk) = chunks.message().await? {
            assert!(is_usable(chunk.validity), "from {}", chunk.first_index);
        }
        Ok::<_, tonic::Status>(())
    });
    sleep(Duration::from_secs(13)).await;
    serve.signal("CONT");

    let mut refused = 0;
    for call in soon(join_all(calls)).await {
        match call.expect("no panic") {
            Ok(usable) => assert!(usable, "a token of an expired grant"),
            Err(status) => {
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::Unavailable, "GRANT_EXPIRED")
                );
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "no call found the expired grant");
    serve.clear_faults().await;
    soon(bulk).await.expect("no panic").expect("it waits for the next grant");
}
