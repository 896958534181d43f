//! Third-party clients over the socket.

use std::path::PathBuf;

use serde_json::Value;
use tokio::process::Command;

use super::Socket;
use crate::{
    examples::{in_go, in_node, in_python, in_rust},
    python::{python, succeeds},
};

#[tokio::test]
async fn the_examples_reach_a_server_by_its_socket() {
    const COUNT: usize = 10;

    let socket = Socket::with("", "");
    let serve = socket.serve().await;
    serve.first_token().await;
    let path = socket.path.display();
    // grpcio, grpc-js, grpc-go and tonic.
    for (mut example, server) in [
        (in_python(), format!("unix:{path}")),
        (in_node(), format!("unix:{path}")),
        (in_go(), format!("unix:///{}", path.to_string().trim_start_matches('/'))),
        (in_rust(), format!("unix:{path}")),
    ] {
        // TLS does not apply to a socket.
        example.args([&server, &COUNT.to_string()]).env("GRANTMINT_CA", "/nowhere/ca.pem");
        let stdout = succeeds(&mut example).await;
        // One token, the bulk, and the error of a bad request.
        assert_eq!(stdout.lines().count(), COUNT + 2, "{example:?}: {stdout}");
    }
}

#[tokio::test]
async fn buf_curl_mints_by_the_socket() {
    let socket = Socket::with("", "");
    let serve = socket.serve().await;
    serve.first_token().await;
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut curl = Command::new(python().with_file_name("buf"));
    curl.arg("curl")
        .args(["--unix-socket", socket.path.to_str().expect("text")])
        .args(["--protocol", "grpc", "--http2-prior-knowledge"])
        .arg("--schema")
        .arg(root.join("proto"))
        .args(["--data", "{\"identity\": \"alice\"}"])
        .arg("http://localhost/grantmint.v1.TokenService/MintToken");
    let answer: Value = serde_json::from_str(&succeeds(&mut curl).await).expect("JSON");
    assert!(answer["token"].is_string(), "{answer}");
}
