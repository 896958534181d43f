//! The commands over the socket.

use std::{fs, os::unix::fs::PermissionsExt};

use tokio::process::Command;

use super::{Socket, own_uid};
use crate::support::{BINARY, Serve, run, run_command};

#[tokio::test]
async fn every_command_reaches_a_server_by_its_socket() {
    let socket = Socket::with("", "");
    let serve = socket.serve().await;
    serve.first_token().await;
    let url = socket.url();
    for (command, reported) in [
        (&["mint", "alice"][..], "ey"),
        (&["mint", "alice", "--server", &url.replace("unix:", "unix://")], "ey"),
        (&["bulk", "--count", "1000"], "ey"),
        (&["grants"], "live"),
        (&["bench", "--duration", "200ms", "--warm-up", "0s"], "in flight"),
    ] {
        let mut all = Command::new(BINARY);
        all.args(command).env_clear().env("GRANTMINT_SERVER", &url);
        // TLS files are neither used nor read.
        all.env("GRANTMINT_CA", "/nowhere/ca.pem");
        let ran = run_command(all).await;
        assert_eq!(ran.code, Some(0), "{command:?}: {}", ran.stderr);
        assert!((ran.stdout + &ran.stderr).contains(reported), "{command:?}");
    }
}

#[tokio::test]
async fn command_reports_why_a_socket_is_unreachable() {
    let socket = Socket::with("", "");
    let url = socket.url();
    let missing = run(&["mint", "alice", "--server", &url]).await;
    assert_eq!(missing.code, Some(3), "{}", missing.stderr);
    let expected = format!("the socket {} does not exist", socket.path.display());
    assert!(missing.stderr.contains(&expected), "{}", missing.stderr);
    assert!(missing.stderr.contains("[server] unix"), "{}", missing.stderr);

    let serve = socket.serve().await;
    let denied = denied(&socket).await;
    assert_eq!(denied.code, Some(1), "{}", denied.stderr);
    assert!(denied.stderr.contains("this user may not open the socket"), "{}", denied.stderr);
    assert!(denied.stderr.contains("and group "), "{}", denied.stderr);

    serve.signal("KILL");
    serve.ended().await;
    let stale = run(&["mint", "alice", "--server", &url]).await;
    assert_eq!(stale.code, Some(3), "{}", stale.stderr);
    assert!(stale.stderr.contains("no server listens on the socket"), "{}", stale.stderr);
    let host = run(&["mint", "alice", "--server", "unix://host/api.sock"]).await;
    assert_eq!(host.code, Some(2), "{}", host.stderr);
}

/// A command of a user without permission for the socket.
async fn denied(socket: &Socket) -> crate::support::CommandOutput {
    let mut command = Command::new(BINARY);
    command.args(["mint", "alice", "--server", &socket.url()]).env_clear();
    if own_uid() == 0 {
        // Root has permission for everything.
        fs::set_permissions(socket.config.dir.path(), fs::Permissions::from_mode(0o755))
            .expect("permission");
        command.uid(4_242).gid(4_242);
    } else {
        fs::set_permissions(&socket.path, fs::Permissions::from_mode(0o000)).expect("permission");
    }
    run_command(command).await
}

#[tokio::test]
async fn bulk_over_the_socket_resumes_after_a_restart() {
    const COUNT: &str = "20000";
    let socket = Socket::with("drain_grace = \"10m\"", "");
    let serve = socket.serve().await;
    serve.first_token().await;
    let out = socket.config.dir.path().join("tokens.txt");
    let out = out.to_str().expect("text").to_owned();
    let url = socket.url();
    let bulk = tokio::spawn(async move {
        run(&["bulk", "--count", COUNT, "-o", &out, "--server", &url, "--patience", "60s"]).await
    });
    serve.signal("INT");
    serve.ended().await;
    let _serve: Serve = socket.serve().await;
    let ran = bulk.await.expect("a running process");
    assert!(matches!(ran.code, Some(0 | 4)), "{}", ran.stderr);
}
