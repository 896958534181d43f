//! Two servers behind one name are replaced one after the other under load; no call fails.

use std::{
    error::Error,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use grantmint::rpc::proto::token_service_client::TokenServiceClient;
use tokio::{io::AsyncReadExt, process::Command};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::{
    page::Page,
    python::python,
    support::{Configured, Serve, mint, reserved_port, soon, until},
};

const RESTARTS: usize = 10;

/// As in the Rust example: UNAVAILABLE and calls that tonic could not send are retried.
const ATTEMPTS: usize = 4;

/// Mints without pause, alternating between the servers, until `done`; returns the number of
/// tokens.
async fn calls(servers: Vec<String>, done: Arc<AtomicBool>) -> Result<usize, Status> {
    let connect = |url| Endpoint::from_shared(url).expect("a URL").connect_lazy();
    let channels: Vec<Channel> = servers.into_iter().map(connect).collect();
    let (mut calls, mut turn) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        for attempt in 1..=ATTEMPTS {
            turn += 1;
            let mut tokens = TokenServiceClient::new(channels[turn % channels.len()].clone());
            match soon(tokens.mint_token(mint("viewer", None))).await {
                Ok(_) => break,
                Err(status) if is_retryable(&status) && attempt < ATTEMPTS => {}
                Err(status) => return Err(status),
            }
        }
        calls += 1;
    }
    Ok(calls)
}

fn is_retryable(status: &Status) -> bool {
    status.code() == Code::Unavailable || status.source().is_some()
}

/// Whether the Python callers have called this server: only they list grants.
async fn serves_python_callers(serve: &Serve) -> bool {
    let page = Page::read(&serve.page("/metrics").await.1);
    page.sum("grpc_server_started_total", &[("grpc_method", "ListGrants")]) > 0.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rolling_update_fails_no_call() {
    let config = Configured::with_secret(
        "[server]\ndrain_delay = \"500ms\"",
        "",
        grantmint::provider::twilio_live::DEMO_API_KEY_SECRET,
    );
    let ports = [reserved_port(), reserved_port()];
    let listen: Vec<String> =
        ports.iter().map(|port| port.local_addr().expect("an address").to_string()).collect();
    let start = async |at: usize| {
        let serve = Serve::configured(&config, &["--listen", &listen[at], "--log", "info"]).await;
        serve.first_token().await;
        serve
    };
    let mut servers = [Some(start(0).await), Some(start(1).await)];

    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut caller = Command::new(python())
        .arg(root.join("tests/python/rollout.py"))
        .arg(root.join("proto"))
        .arg(root.join("examples/service_config.json"))
        .arg(listen.join(","))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("python runs");
    let done = Arc::new(AtomicBool::new(false));
    let urls = listen.iter().map(|it| format!("http://{it}")).collect();
    let load = tokio::spawn(calls(urls, Arc::clone(&done)));

    for restart in 0..RESTARTS {
        let at = restart % servers.len();
        // The port is free once the previous server has ended.
        let previous = servers[at].take().expect("a server");
        previous.signal("TERM");
        let (status, _) = soon(previous.ended()).await;
        assert_eq!(status.code(), Some(0));
        let serve = start(at).await;
        // As a rollout waits before the next server: clients reconnect after a second or more.
        until("Python's calls", async || serves_python_callers(&serve).await).await;
        servers[at] = Some(serve);
    }
    done.store(true, Ordering::Relaxed);
    let calls = soon(load).await.expect("an exit").expect("no call fails");
    drop(caller.stdin.take());
    let mut printed = String::new();
    let mut stdout = caller.stdout.take().expect("piped");
    soon(stdout.read_to_string(&mut printed)).await.expect("text");
    let ended = soon(caller.wait()).await.expect("an exit");
    assert!(ended.success(), "{printed}");
    let of_python: usize = printed.trim().parse().expect("a count");
    assert!(calls > 1_000 && of_python > 1_000, "{calls} and {of_python}");
    assert!(calls + of_python >= 5_000, "{calls} and {of_python}");
}
