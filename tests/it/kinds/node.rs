//! Node programs that make or read tokens with independent implementations: the vendors' libraries,
//! and OpenSSL.

use std::{path::PathBuf, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use super::test_key;
use crate::support::PATIENCE;

/// The output of a program of `tests/node` for this input: one JSON value a line.
pub(crate) async fn in_node(program: &str, input: &Value) -> Vec<Value> {
    in_node_for(program, input, PATIENCE).await
}

/// The same within this time.
pub(crate) async fn in_node_for(program: &str, input: &Value, patience: Duration) -> Vec<Value> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let modules = root.join("target/libraries/node/node_modules");
    assert!(modules.exists(), "{} is missing: run make library-tools", modules.display());
    let mut node = Command::new("node");
    node.arg(root.join("tests/node").join(program)).env("NODE_PATH", modules);
    node.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = node.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let text = input.to_string();
    // The program may end before it has read all input; its output is checked below.
    let written = tokio::spawn(async move { stdin.write_all(text.as_bytes()).await });
    let output = timeout(patience, child.wait_with_output()).await.expect("timed out").unwrap();
    let reported = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {reported}");
    written.await.unwrap().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Checks signatures with OpenSSL and the public key at this pointer of the vectors' keys. Each
/// must be invalid after changing a byte of the claims or of the signature.
pub(super) async fn assert_signed_by(public_key: &str, tokens: &[String]) {
    let key = test_key(public_key).unwrap();
    let checked = in_node("signatures.js", &json!({"key": key, "tokens": tokens})).await;
    assert_eq!(checked, [json!(tokens.len())]);
}
