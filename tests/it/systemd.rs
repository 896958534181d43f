//! A test plays systemd for the server: the notify socket and the watchdog.

use std::{
    ffi::OsString,
    fs,
    future::pending,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram as Socket},
    },
    sync::{Arc, Barrier},
    time::Duration,
};

use grantmint::{
    app::{App, Request, Stop},
    clock::{self, Clock},
    config::Config,
    provider::twilio_live::DEMO_API_KEY_SECRET,
    systemd::Systemd,
};
use tempfile::TempDir;
use tokio::{net::UnixDatagram, runtime, sync::oneshot, time::Instant};

use crate::{
    binary::metrics::page,
    support::{Configured, PATIENCE, Serve, soon, until},
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

/// A server whose runtime has two worker threads. Not the binary, where nothing can block them.
#[test]
fn watchdog_starves_while_the_runtime_is_stuck() {
    const WATCHDOG: Duration = Duration::from_millis(500);
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("notify");
    let socket = Socket::bind(&path).expect("bound");
    let runtime =
        runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("one");
    let (stop, stopped) = oneshot::channel::<()>();
    let server = runtime.spawn(async move {
        let text = "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
                    [profiles.room]\nkind = \"livekit\"\napi_key = \"key\"\n\
                    api_secret_env = \"SECRET\"\n\
                    allow_resources = [\"*\"]";
        let secret = |_: &str| Some("a-secret-of-thirty-two-characters".to_owned());
        let config = Config::parse_with("test.toml", text, &secret);
        let config = config.unwrap_or_else(|problems| panic!("{problems}"));
        let app = App::build(&config, Clock::system()).await.expect("a server");
        let systemd = Systemd::from_env(|name| match name {
            "NOTIFY_SOCKET" => Some(path.clone().into()),
            "WATCHDOG_USEC" => Some(OsString::from(WATCHDOG.as_micros().to_string())),
            _ => None,
        });
        let running = app.supervised_by(systemd.expect("an address")).spawn();
        let mut stopped = Some(stopped);
        running
            .until(async move || {
                match stopped.take() {
                    Some(stopped) => drop(stopped.await),
                    None => pending().await,
                }
                Request::Stop(Stop::Now)
            })
            .await
    });
    let beats_within = |limit| {
        socket.set_read_timeout(Some(limit)).expect("an option");
        let mut message = [0; 4096];
        loop {
            match socket.recv(&mut message) {
                Ok(length) if message[..length] == *b"WATCHDOG=1\n" => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    };
    assert!(beats_within(PATIENCE));

    // Both threads wait for what never comes, as in a deadlock.
    let (stuck, free) = (Arc::new(Barrier::new(3)), Arc::new(Barrier::new(3)));
    for _ in 0..2 {
        let (stuck, free) = (Arc::clone(&stuck), Arc::clone(&free));
        runtime.spawn(async move {
            stuck.wait();
            free.wait();
        });
    }
    stuck.wait();
    socket.set_nonblocking(true).expect("an option");
    while socket.recv(&mut [0; 64]).is_ok() {}
    socket.set_nonblocking(false).expect("an option");
    assert!(!beats_within(WATCHDOG), "a stuck server feeds its watchdog");
    free.wait();
    assert!(beats_within(PATIENCE));

    drop(stop);
    drop(socket);
    runtime.block_on(async { soon(server).await }).expect("no panic");
}
