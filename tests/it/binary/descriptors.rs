//! Servers with few file descriptors.

use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::support::{Configured, Serve, found, mint, soon, until};

/// The HTTP/2 preface and an empty SETTINGS frame.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The soft and hard limit of a running server.
fn limits(serve: &Serve) -> (String, String) {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", serve.pid())).expect("read");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let mut words = line.split_whitespace().skip(3).map(str::to_owned);
    (words.next().expect("soft"), words.next().expect("hard"))
}

#[tokio::test]
async fn open_file_limit_is_raised_to_the_hard_limit() {
    let serve = Serve::under("ulimit -S -n 96 && ulimit -H -n 700", &["--sandbox"]).await;
    assert_eq!(limits(&serve), ("700".to_owned(), "700".to_owned()));
    serve.signal("INT");
    let log = serve.ended().await.1;
    let reported = log.lines().find(|line| line.contains("fewer connections")).expect("a warning");
    assert!(reported.contains("\"connections\":356"), "{reported}");
}

/// Sets the soft limit of a running server.
fn limit(serve: &Serve, files: u64) {
    let pid = Pid::from_raw(i32::try_from(serve.pid()).expect("a pid"));
    let (_, maximum) = limits(serve);
    let maximum = maximum.parse().ok();
    prlimit(pid, Resource::Nofile, Rlimit { current: Some(files), maximum }).expect("permission");
}

#[tokio::test]
async fn without_free_descriptors_open_connections_are_served() {
    let serve = Serve::sandboxed(&[]).await;
    let mut caller = serve.tokens().await;
    serve.first_token().await;

    // No descriptor is free; open connections stay open.
    limit(&serve, 3);
    let address = serve.server.strip_prefix("http://").expect("plain http");
    let mut knocks = soon(TcpStream::connect(address)).await.expect("a place in the queue");
    knocks.write_all(HELLO).await.expect("sent");
    serve.idles().await;
    soon(caller.mint_token(mint("viewer", None))).await.expect("a token");

    let released = Instant::now();
    limit(&serve, 512);
    soon(knocks.read_u8()).await.expect("a response");
    // The server tries again every 50 ms.
    assert!(released.elapsed() < Duration::from_secs(1), "{:?}", released.elapsed());
    serve.signal("INT");
    let log = serve.ended().await.1;
    for line in ["accepting connections failed; retrying", "accepting connections recovered"] {
        assert_eq!(log.matches(line).count(), 1, "{line}");
    }
}

#[tokio::test]
async fn idle_callers_do_not_block_refreshes() {
    let upstream = Serve::sandboxed(&[]).await;
    let lines = format!(
        "grant_ttl = \"12s\"\nupstream = \"{}\"",
        upstream.sandbox.as_deref().expect("a sandbox")
    );
    let config = Configured::profile(&lines);
    let serve = Serve::under("ulimit -n 96", &["--config", config.path()]).await;
    let mut caller = serve.tokens().await;
    let mut generation = async || {
        let minted = soon(caller.mint_token(mint("viewer", None))).await.ok()?;
        minted.into_inner().validity.map(|validity| validity.generation)
    };
    let first = found("a token", &mut generation).await;

    let address = serve.server.strip_prefix("http://").expect("plain http");
    let mut idle = Vec::new();
    for number in 0..120 {
        let mut stream = soon(TcpStream::connect(address)).await.expect("a connection");
        stream.write_all(HELLO).await.expect("sent");
        // Half of the descriptors are for connections, and the caller uses one.
        if number < 47 {
            soon(stream.read_u8()).await.expect("a response");
        }
        idle.push(stream);
    }
    // Half of the descriptors are for connections, a fifth of these for handshakes, and the caller
    // uses one. Other connections are refused.
    for stream in &mut idle[..38] {
        soon(stream.read_u8()).await.expect("a response");
    }
    // The upstream connection is closed after this, so the next request needs a new descriptor.
    upstream.set_fault("status=503,times=1").await;
    until("the fault", async || upstream.counters().await["refused"]["503"] == 1).await;
    until("a newer grant", async || generation().await.is_some_and(|now| now > first)).await;

    serve.signal("INT");
    let log = serve.ended().await.1;
    assert!(!log.contains("CONNECT_FAILED"), "no descriptor was reserved for the upstream");
    assert!(
        !log.contains("accepting connections failed; retrying"),
        "it accepted more connections than it has descriptors"
    );
}
