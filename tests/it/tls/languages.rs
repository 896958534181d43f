//! Callers in other languages over mTLS.

use std::path::PathBuf;

use tokio::process::Command;

use super::pki::{CALLER_ID, Pki, uris};
use crate::{
    examples::{in_go, in_node, in_python, in_rust},
    python::{python, succeeds},
    support::found,
};

#[tokio::test]
async fn examples_use_mutual_tls() {
    const COUNT: usize = 10;

    let pki = Pki::new();
    let serve = pki.serve("").await;
    let (cert, key) = pki.write_pair("caller", &[&pki.prod.issue(uris(&[CALLER_ID]))]);
    found("a grant", async || serve.page("/readyz").await.1.contains("live").then_some(())).await;
    let server = serve.server.trim_start_matches("https://").replace("127.0.0.1", "localhost");
    for mut example in [in_python(), in_node(), in_go(), in_rust()] {
        example
            .args([&server, &COUNT.to_string()])
            .env("GRANTMINT_CA", pki.path("server-ca.pem"))
            .env("GRANTMINT_CERT", &cert)
            .env("GRANTMINT_KEY", &key);
        let stdout = succeeds(&mut example).await;
        // One token, the bulk, and the error of a bad request.
        assert_eq!(stdout.lines().count(), COUNT + 2, "{example:?}: {stdout}");
    }
}

#[tokio::test]
async fn python_caller_with_a_certificate_mints() {
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
