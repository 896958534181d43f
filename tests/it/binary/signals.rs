//! Every signal and the server's reaction.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::Command,
};
use tonic::Code;

use super::bulk::read;
use crate::support::{BINARY, Configured, Serve, mint, reason, resume_index, series, soon, until};

#[tokio::test]
async fn unused_signal_is_logged_and_ignored() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let mut tokens = serve.tokens().await;
    let names = [
        "HUP", "USR1", "USR2", "ALRM", "VTALRM", "PROF", "XFSZ", "IO", "WINCH", "PIPE", "34", "64",
    ];
    for name in names {
        serve.signal(name);
        soon(tokens.mint_token(mint("alice", None))).await.expect("a token");
    }
    // During the delay, signals with a meaning still work.
    serve.signal("TERM");
    let (status, log) = serve.ended().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(log.matches("reload requested; applying changes").count(), 1);
    for name in ["SIGUSR1", "SIGUSR2", "SIGALRM", "SIGVTALRM", "SIGPROF", "SIGXFSZ", "SIGIO"] {
        let line = format!("\"message\":\"signal ignored\",\"signal\":\"{name}\"");
        assert_eq!(log.matches(&line).count(), 1, "{name}: {log}");
    }
}

#[tokio::test]
async fn sigquit_drains_as_sigterm_does() {
    let config = Configured::with_secret(
        "[server]\ndrain_delay = \"100ms\"",
        "",
        grantmint::provider::twilio_live::DEMO_API_KEY_SECRET,
    );
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let mut tokens = serve.tokens().await;
    let bulk = soon(tokens.mint_tokens(series(0, 1_000_000))).await.expect("a bulk");
    serve.signal("QUIT");
    // A signal without a meaning does not count as the second one.
    serve.signal("HUP");
    let (received, _, ended) = read(bulk.into_inner(), 0).await;
    let ended = ended.expect("it does not exit");
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "DRAINING"));
    assert_eq!(usize::try_from(resume_index(&ended)), Ok(received.len()));
    let (status, log) = serve.ended().await;
    assert_eq!(status.code(), Some(0));
    assert!(
        log.contains("shutdown requested; draining") && !log.contains("second signal received")
    );
}

#[tokio::test]
async fn sandbox_ignores_unused_signals() {
    let mut sandbox = Command::new(BINARY)
        .args(["sandbox", "--listen", "127.0.0.1:0", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary starts");
    let mut log = sandbox.stderr.take().expect("piped");
    let mut reported = BufReader::new(sandbox.stdout.take().expect("piped")).lines();
    soon(reported.next_line()).await.expect("text").expect("a line of addresses");
    let mut bytes = Vec::new();
    let pid = sandbox.id().expect("a running process").to_string();
    for name in ["HUP", "USR1"] {
        let sent = std::process::Command::new("kill").args([&format!("-{name}"), &pid]).status();
        assert!(sent.expect("kill runs").success());
    }
    let mut output = String::new();
    while !(output.contains("reload requested; nothing to reload") && output.contains("SIGUSR1")) {
        let count = soon(log.read_buf(&mut bytes)).await.expect("a log");
        assert!(count > 0, "{output}");
        output = String::from_utf8_lossy(&bytes).into_owned();
    }
    let sent = std::process::Command::new("kill").args(["-QUIT", &pid]).status();
    assert!(sent.expect("kill runs").success());
    assert_eq!(soon(sandbox.wait()).await.expect("an exit status").code(), Some(0));
}

#[tokio::test]
async fn signal_stops_a_server_still_reading_its_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let fifo = dir.path().join("config");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status();
    assert!(made.expect("mkfifo runs").success());
    let fifo = fifo.to_str().expect("text");
    for arguments in [
        &["serve", "--config", fifo][..],
        &["serve", "--sandbox", "--scenario", fifo],
        &["sandbox", "--listen", "127.0.0.1:0", "--scenario", fifo],
    ] {
        let mut child = Command::new(BINARY)
            .args(arguments)
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the binary starts");
        let pid = child.id().expect("a running process").to_string();
        let signal = |name: &str| {
            let sent = std::process::Command::new("kill").args([name, &pid]).status();
            assert!(sent.expect("kill runs").success());
        };
        // A handled signal, so that the default action does not apply to the next one.
        let taken = format!("/proc/{pid}/status");
        until("the process handles signals", async || {
            let status = std::fs::read_to_string(&taken).expect("a running process");
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
            let caught = u64::from_str_radix(caught.expect("a mask").trim(), 16).expect("hex");
            caught & (1 << 63) != 0
        })
        .await;
        signal("-TERM");
        let status = soon(child.wait()).await.expect("an exit status");
        assert_eq!(status.code(), Some(0), "{arguments:?}");
    }
}
