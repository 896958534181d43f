//! A caller that is not Rust, over mTLS.

use std::path::PathBuf;

use tokio::process::Command;

use super::pki::{CALLER_ID, Pki, uris};
use crate::python::{python, succeeds};

#[tokio::test]
async fn a_python_caller_with_a_certificate_mints() {
    let pki = Pki::new();
    let serve = pki.serve("").await;
    let (cert, key) = pki.write_pair("caller", &[&pki.prod.issue(uris(&[CALLER_ID]))]);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut client = Command::new(python());
    client
        .arg(root.join("tests/python/mtls.py"))
        .arg(root.join("proto"))
        .arg(serve.server.trim_start_matches("https://"))
        .args([pki.path("server-ca.pem"), cert, key])
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let stdout = succeeds(&mut client).await;
    assert_eq!(stdout.lines().count(), 2, "{stdout}");
}
