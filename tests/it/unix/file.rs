//! The socket's file from startup to exit.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::Path,
};

use grantmint::rpc::proto::WatchGrantsRequest;

use super::Socket;
use crate::support::{Serve, mint, reason, run, soon, until};

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket())
}

#[tokio::test]
async fn socket_has_the_configured_mode_and_group() {
    let own = fs::metadata("/proc/self").expect("permission").gid();
    for (keys, mode) in [("", 0o660), (", mode = \"0606\"", 0o606)] {
        let socket = Socket::of(&format!("{keys}, group = {own}"), "", "");
        let arguments = ["--sandbox", "--config", socket.config.path()];
        // The umask does not change the mode.
        for mask in ["umask 000", "umask 177"] {
            let _serve = Serve::under(mask, &arguments).await;
            let file = fs::metadata(&socket.path).expect("a socket");
            assert_eq!((file.mode() & 0o7777, file.gid()), (mode, own), "{mask}");
        }
    }
}

#[tokio::test]
async fn stale_socket_of_a_killed_server_is_replaced() {
    let socket = Socket::with("", "");
    let killed = socket.serve().await;
    killed.signal("KILL");
    killed.ended().await;
    assert!(is_socket(&socket.path), "the killed server's socket is gone");
    let serve = socket.serve().await;
    serve.first_token().await;
    serve.signal("INT");
    assert!(serve.ended().await.0.success());
    assert!(!socket.path.exists(), "the socket remains after the exit");
}

#[tokio::test]
async fn socket_in_use_is_left_alone() {
    let socket = Socket::with("", "");
    let serve = socket.serve().await;
    serve.first_token().await;
    let second = ["serve", "--sandbox", "--config", socket.config.path()];
    let ran = run(&[&second[..], &["--admin-listen", "127.0.0.1:0"]].concat()).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("another server is listening on it"), "{}", ran.stderr);
    assert!(ran.stderr.contains(&socket.url()), "{}", ran.stderr);
    soon(serve.tokens().await.mint_token(mint("alice", None))).await.expect("a token");
}

#[tokio::test]
async fn non_socket_file_is_never_deleted() {
    let socket = Socket::with("", "");
    fs::write(&socket.path, "precious").expect("written");
    let ran = run(&["serve", "--sandbox", "--config", socket.config.path()]).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("a file that is not a socket"), "{}", ran.stderr);
    assert_eq!(fs::read_to_string(&socket.path).expect("still there"), "precious");
}

#[tokio::test]
async fn server_removes_only_its_own_socket() {
    let socket = Socket::with("", "");
    let first = socket.serve().await;
    fs::remove_file(&socket.path).expect("removed by hand");
    let second = socket.serve().await;
    first.signal("INT");
    assert!(first.ended().await.0.success());
    second.first_token().await;
}

#[tokio::test]
async fn failed_start_leaves_no_socket() {
    let socket = Socket::with("", "");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let admin = taken.local_addr().expect("an address").to_string();
    let arguments = ["serve", "--sandbox", "--config", socket.config.path()];
    let ran = run(&[&arguments[..], &["--admin-listen", &admin]].concat()).await;
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(!socket.path.exists());
}

#[tokio::test]
async fn socket_obstacle_is_reported() {
    let serve = async |path: &str| {
        let socket = Socket::with("", "");
        let text = fs::read_to_string(&socket.config.file).expect("text");
        let text = text.replace(socket.path.to_str().expect("text"), path);
        fs::write(&socket.config.file, text).expect("written");
        let ran = run(&["serve", "--sandbox", "--config", socket.config.path()]).await;
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        ran.stderr
    };
    let missing = serve("/nowhere/at/all.sock").await;
    assert!(missing.contains("the directory /nowhere/at does not exist"), "{missing}");
    assert!(missing.contains("create the directory"), "{missing}");
    let long = serve(&format!("/{}", "a".repeat(107))).await;
    assert!(long.contains("server.unix.path: is 108 bytes long"), "{long}");
    let relative = serve("api.sock").await;
    assert!(relative.contains("server.unix.path: must be an absolute path"), "{relative}");
}

#[tokio::test]
async fn drain_closes_the_socket_and_ends_its_streams() {
    let socket = Socket::with("drain_grace = \"10m\"", "");
    let serve = socket.serve().await;
    serve.first_token().await;
    let watch = soon(serve.grants().await.watch_grants(WatchGrantsRequest::default()))
        .await
        .expect("a watch");
    let mut watch = watch.into_inner();
    soon(watch.message()).await.expect("no error").expect("a snapshot");
    serve.signal("INT");
    let ended = loop {
        match soon(watch.message()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the watch ended with OK"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&ended), "DRAINING");
    until("the socket is removed", async || !socket.path.exists()).await;
    assert!(serve.ended().await.0.success());
}
