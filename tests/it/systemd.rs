//! A test plays systemd for the server: the notify socket and the watchdog.

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram as Socket},
    },
    time::Duration,
};

use grantmint::{clock, provider::twilio_live::DEMO_API_KEY_SECRET};
use tempfile::TempDir;
use tokio::{net::UnixDatagram, time::Instant};

use crate::{
    binary::metrics::page,
    support::{Configured, Serve, soon, until},
};

/// A notify socket.
struct Manager {
    socket: UnixDatagram,
    /// The value of `NOTIFY_SOCKET`.
    name: String,
    _dir: TempDir,
}

impl Manager {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("bound");
        Self { socket, name: path.to_str().expect("text").to_owned(), _dir: dir }
    }

    /// The same with an abstract address.
    fn abstracted() -> Self {
        let dir = TempDir::new().expect("a directory");
        let name = dir.path().to_str().expect("text").to_owned();
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let socket = Socket::bind_addr(&address).expect("bound");
        socket.set_nonblocking(true).expect("an option");
        let socket = UnixDatagram::from_std(socket).expect("a socket");
        Self { socket, name: format!("@{name}"), _dir: dir }
    }

    /// `serve --sandbox` with these shell assignments besides `NOTIFY_SOCKET`.
    async fn starts(&self, config: &Configured, variables: &str, arguments: &[&str]) -> Serve {
        let setting = format!("export NOTIFY_SOCKET='{}' {variables}", self.name);
        let all = [&["--sandbox", "--config", config.path()][..], arguments].concat();
        Serve::under(&setting, &all).await
    }

    /// The lines of the next message.
    async fn next(&self) -> Vec<String> {
        let mut message = vec![0; 4096];
        let length = soon(self.socket.recv(&mut message)).await.expect("a message");
        let message = str::from_utf8(&message[..length]).expect("text");
        message.lines().map(str::to_owned).collect()
    }

    /// The next message with this line, after others without it.
    async fn next_with(&self, line: &str) -> Vec<String> {
        loop {
            let message = self.next().await;
            if has(&message, line) {
                return message;
            }
        }
    }
}

fn has(message: &[String], line: &str) -> bool {
    message.iter().any(|it| it == line)
}

/// The number behind `KEY=`.
fn number(message: &[String], key: &str) -> i64 {
    let value = message.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    value.and_then(|it| it.parse().ok()).unwrap_or_else(|| panic!("no {key}: {message:?}"))
}

const READY: &str = "STATUS=ready; grants: 1 live, 0 expired, 0 pending";

#[tokio::test]
async fn ready_follows_the_start_gate() {
    let manager = Manager::new();
    let config = Configured::profile("");
    let serve = manager.starts(&config, "", &["--fault", "status=503"]).await;
    let waiting = "STATUS=not ready; grants: 0 live, 0 expired, 1 pending";
    assert_eq!(manager.next().await, [waiting]);
    until("a retry", async || serve.counters().await["requests"].as_u64() > Some(1)).await;
    assert!(manager.socket.try_recv(&mut [0; 1]).is_err());
    assert_eq!(serve.page("/readyz").await.0, 503);
    serve.clear_faults().await;
    assert_eq!(manager.next().await, ["READY=1", READY]);
    assert_eq!(serve.page("/readyz").await.0, 200);
}

#[tokio::test]
async fn abstract_socket_is_notified() {
    let manager = Manager::abstracted();
    let _serve = manager.starts(&Configured::profile(""), "", &[]).await;
    assert_eq!(manager.next_with("READY=1").await, ["READY=1", READY]);
}

#[tokio::test]
async fn grant_expiry_changes_the_status() {
    let manager = Manager::new();
    let config = Configured::profile("grant_ttl = \"12s\"");
    let serve = manager.starts(&config, "", &[]).await;
    manager.next_with("READY=1").await;
    serve.set_fault("status=401").await;
    assert_eq!(manager.next().await, ["STATUS=ready; grants: 0 live, 1 expired, 0 pending"]);
}

#[tokio::test]
async fn watchdog_is_fed_twice_in_its_time() {
    let manager = Manager::new();
    let config = Configured::profile("");
    let watchdog = "WATCHDOG_USEC=1000000 WATCHDOG_PID=$$";
    let _serve = manager.starts(&config, watchdog, &[]).await;
    manager.next_with("WATCHDOG=1").await;
    let start = Instant::now();
    for _ in 0..4 {
        manager.next_with("WATCHDOG=1").await;
    }
    // The first may have been received late.
    assert!(start.elapsed() > Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test]
async fn watchdog_of_another_process_is_not_fed() {
    let manager = Manager::new();
    let config = Configured::profile("");
    let watchdog = "WATCHDOG_USEC=1000 WATCHDOG_PID=1";
    let serve = manager.starts(&config, watchdog, &[]).await;
    loop {
        let message = manager.next().await;
        assert!(!has(&message, "WATCHDOG=1"));
        if has(&message, "READY=1") {
            serve.signal("INT");
        } else if has(&message, "STOPPING=1") {
            break;
        }
    }
}

#[tokio::test]
async fn reload_is_finished_when_changes_are_in_force() {
    let manager = Manager::new();
    let callers = |profiles: &str| {
        format!("[callers.demo]\nmatch = [\"loopback\"]\nallow = [{{ profiles = [{profiles}] }}]")
    };
    let config = Configured::with_secret(&callers("\"demo\""), "", DEMO_API_KEY_SECRET);
    let serve = manager.starts(&config, "", &[]).await;
    manager.next_with("READY=1").await;

    let text = fs::read_to_string(&config.file).expect("read");
    fs::write(&config.file, text.replace(&callers("\"demo\""), &callers("\"*\"")))
        .expect("written");
    let before = clock::monotonic_micros();
    serve.signal("HUP");
    let reloading = manager.next().await;
    let after = clock::monotonic_micros();
    assert!(has(&reloading, "RELOADING=1") && has(&reloading, "STATUS=reloading"), "{reloading:?}");
    assert!((before..=after).contains(&number(&reloading, "MONOTONIC_USEC")), "{reloading:?}");
    assert_eq!(manager.next().await, ["READY=1", READY]);
    let of_callers = [("what", "callers"), ("result", "ok")];
    let reloads = page(&serve).await.figure("grantmint_reloads_total", &of_callers);
    assert!((reloads - 1.0).abs() < 0.1, "{reloads}");
}

#[tokio::test]
async fn shutdown_is_reported_with_the_time_it_needs() {
    let manager = Manager::new();
    let slow = "[server]\ndrain_delay = \"1s\"\ndrain_grace = \"10m\"";
    let config = Configured::with_secret(slow, "", DEMO_API_KEY_SECRET);
    let serve = manager.starts(&config, "", &[]).await;
    manager.next_with("READY=1").await;
    serve.signal("TERM");
    let stopping = manager.next().await;
    let served = "STATUS=shutting down: all calls are still served";
    assert!(has(&stopping, "STOPPING=1") && has(&stopping, served), "{stopping:?}");
    assert!(number(&stopping, "EXTEND_TIMEOUT_USEC") > 601_000_000, "{stopping:?}");
    assert!(serve.ended().await.0.success());

    // Without a drain delay and connections, the process ends at once.
    let serve = manager.starts(&config, "", &[]).await;
    manager.next_with("READY=1").await;
    serve.signal("INT");
    manager.next_with("STOPPING=1").await;
    assert!(serve.ended().await.0.success());
}

#[tokio::test]
async fn unusable_socket_is_logged_and_changes_nothing() {
    for socket in ["notify", "/nowhere/notify"] {
        let manager = Manager { name: socket.to_owned(), ..Manager::new() };
        let config = Configured::profile("");
        let serve = manager.starts(&config, "WATCHDOG_USEC=1000", &[]).await;
        serve.first_token().await;
        serve.signal("INT");
        let (status, log) = serve.ended().await;
        assert!(status.success(), "{log}");
        let lines = log.lines().filter(|line| line.contains("systemd") && line.contains("WARN"));
        assert_eq!(lines.count(), 1, "{socket}: {log}");
    }
}
