//! Channels of grpc-js and grpcio that several callers share, or that are made with options of
//! all kinds, against the real binary.

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

async fn cancelled_calls_hurt_nobody_else(mut command: Command) {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let server = serve.server.trim_start_matches("http://");
    assert_eq!(succeeds(command.arg(server)).await, "failed 0, enough true\n");
    serve.signal("TERM");
    let (_, log) = serve.ended().await;
    assert!(!log.contains("a connection is cut"), "{log}");
}

#[tokio::test]
async fn cancelled_calls_hurt_nobody_else_in_node() {
    cancelled_calls_hurt_nobody_else(in_node("cancels.js")).await;
}

#[tokio::test]
async fn cancelled_calls_hurt_nobody_else_in_python() {
    cancelled_calls_hurt_nobody_else(in_python("cancels.py")).await;
}
