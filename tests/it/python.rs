//! A caller in another language: `tests/python/client.py` with the real binary.

use std::{fs, path::PathBuf};

use grantmint::provider::twilio_live::{DEMO_API_KEY_SECRET, DEMO_API_KEY_SID};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{Serve, soon};

const README: &str = include_str!("../../README.md");

/// The interpreter of the environment that `make test` creates.
pub(crate) fn python() -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let made = root.join("target/venv/bin/python");
    let python = std::env::var_os("GRANTMINT_PYTHON").map_or(made, PathBuf::from);
    assert!(python.exists(), "{} is missing: run make test", python.display());
    python
}

#[tokio::test]
async fn python_caller_mints_and_uses_health_and_reflection() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut client = Command::new(python());
    client
        .arg(root.join("tests/python/client.py"))
        .arg(root.join("proto"))
        .args([&serve.server, DEMO_API_KEY_SID, DEMO_API_KEY_SECRET])
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let stdout = succeeds(&mut client).await;
    assert_eq!(stdout.lines().count(), 8, "{stdout}");
}

/// The output of a program that must succeed.
pub(crate) async fn succeeds(program: &mut Command) -> String {
    let output = soon(program.kill_on_drop(true).output()).await.expect("a running process");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stdout}{stderr}");
    stdout
}

/// The README's block with this start.
fn block(start: &str) -> &'static str {
    let (_, rest) = README.split_once(start).expect("such a block");
    rest.split_once("\n```").expect("an end").0
}

#[tokio::test]
async fn readme_python_example_runs_as_printed() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let dir = TempDir::new().expect("a directory");
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::os::unix::fs::symlink(root.join("proto"), dir.path().join("proto")).expect("linked");

    let generate = block("pip install grpcio grpcio-tools\npython ");
    let mut protoc = Command::new(python());
    succeeds(protoc.args(generate.split(' ')).current_dir(&dir)).await;

    let address = serve.server.strip_prefix("http://").expect("a URL");
    let caller = block("```python\n").replace("127.0.0.1:50051", address);
    fs::write(dir.path().join("caller.py"), caller).expect("written");
    let mut caller = Command::new(python());
    let stdout = succeeds(caller.arg("caller.py").current_dir(&dir)).await;
    let (first, chunks) = stdout.split_once('\n').expect("lines");
    assert!(first.starts_with(DEMO_API_KEY_SID), "{stdout}");
    let counts = chunks.lines().filter_map(|line| line.split(' ').next()?.parse::<u32>().ok());
    assert_eq!(counts.sum::<u32>(), 1_000, "{stdout}");
}
