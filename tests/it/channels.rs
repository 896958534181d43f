//! Channels of grpc-js and grpcio that several callers share or that are created with options of
//! all kinds, with the real binary.

use std::path::PathBuf;

use tokio::process::Command;

use crate::{
    examples::made,
    python::{python, succeeds},
    support::Serve,
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn in_node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(root().join("tests/node").join(script));
    command.env("NODE_PATH", made("node/node_modules")).arg(root().join("proto"));
    command
}

fn in_python(script: &str) -> Command {
    let mut command = Command::new(python());
    command.arg(root().join("tests/python").join(script)).arg(root().join("proto"));
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

async fn cancelled_calls_affect_no_other_call(mut command: Command) {
    // Trace lines would slow the calls down.
    let serve = Serve::sandboxed(&["--log", "info"]).await;
    serve.first_token().await;
    let server = serve.server.trim_start_matches("http://");
    assert_eq!(succeeds(command.arg(server)).await, "failed 0, enough true\n");
    serve.signal("TERM");
    let (_, log) = serve.ended().await;
    assert!(!log.contains("connection closed"), "{log}");
}

#[tokio::test]
async fn cancelled_calls_affect_no_other_call_in_node() {
    cancelled_calls_affect_no_other_call(in_node("cancels.js")).await;
}

#[tokio::test]
async fn cancelled_calls_affect_no_other_call_in_python() {
    cancelled_calls_affect_no_other_call(in_python("cancels.py")).await;
}

#[tokio::test]
async fn platform_wide_channel_options_work() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let server = serve.server.trim_start_matches("http://");
    assert_eq!(succeeds(in_python("options.py").arg(server)).await, "tried 17\n");
}

/// The authorities that HTTP/2 parsers refuse, and the option that the documentation names.
#[tokio::test]
async fn unix_socket_authority_can_be_set_by_an_option() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let server = serve.server.trim_start_matches("http://");
    let reported = succeeds(in_python("authority.py").arg(server)).await;
    let lines: Vec<_> = reported.lines().collect();
    assert_eq!(lines[1..], ["percent-encoded INTERNAL", "with the option OK"], "{reported}");
    let page = include_str!("../../docs/configuration.md");
    assert!(page.contains("grpc.default_authority"), "the README does not document it");
}
