//! A caller that is not Rust: `tests/python/client.py` against the real binary.

use std::path::PathBuf;

use grantmint::sandbox::{DEMO_API_KEY_SECRET, DEMO_API_KEY_SID};
use tokio::process::Command;

use crate::support::{Serve, soon};

/// The interpreter of the environment that `make test` makes.
fn python() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let made = root.join("target/venv/bin/python");
    let python = std::env::var_os("GRANTMINT_PYTHON").map_or(made, PathBuf::from);
    assert!(python.exists(), "{} is missing: run make test", python.display());
    python
}

#[tokio::test]
async fn a_python_caller_mints_reads_errors_and_asks_for_health_and_reflection() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut client = Command::new(python());
    client
        .arg(root.join("tests/python/client.py"))
        .arg(root.join("proto"))
        .args([&serve.server, DEMO_API_KEY_SID, DEMO_API_KEY_SECRET])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .kill_on_drop(true);
    let output = soon(client.output()).await.expect("Python runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    assert_eq!(stdout.lines().count(), 8, "{stdout}");
}
