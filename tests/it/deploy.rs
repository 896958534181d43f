//! What runs the server elsewhere: `grantmint health`, the image, Kubernetes, systemd,
//! releases.

mod health;
mod image;
mod kubernetes;
mod release;
mod systemd;
mod workflows;

use std::path::PathBuf;

use tokio::process::Command;

/// The top of the repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A program of the Python packages that `make test` installs.
fn tool(name: &str) -> Command {
    let tool = crate::python::python().with_file_name(name);
    assert!(tool.exists(), "{} is missing: run make test", tool.display());
    Command::new(tool)
}

/// The binary without shared libraries.
fn static_binary() -> PathBuf {
    let binary = root().join("target/static/debug/grantmint");
    assert!(binary.exists(), "{} is missing: run make test", binary.display());
    binary
}
