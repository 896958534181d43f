//! The archive of a release, here around the static debug binary.

use std::{collections::BTreeSet, fs, path::Path};

use tempfile::TempDir;
use tokio::process::Command;

use super::{root, static_binary};
use crate::python::succeeds;

/// Packs an archive into this directory.
async fn pack(into: &Path) -> Vec<u8> {
    let mut archive = Command::new(root().join("deploy/release/archive"));
    archive.arg(static_binary()).arg(into).args(["grantmint-test", "1700000000"]);
    succeeds(archive.current_dir(root())).await;
    fs::read(into.join("grantmint-test.tar.gz")).expect("an archive")
}

#[tokio::test]
async fn archive_is_complete_and_reproducible() {
    let dirs = [TempDir::new().expect("a directory"), TempDir::new().expect("a directory")];
    let packed = [pack(dirs[0].path()).await, pack(dirs[1].path()).await];
    assert!(packed[0] == packed[1], "the archive differs from run to run");

    let mut list = Command::new("tar");
    list.arg("tzf").arg(dirs[0].path().join("grantmint-test.tar.gz"));
    let list = succeeds(&mut list).await;
    let files: BTreeSet<_> =
        list.lines().filter_map(|file| file.strip_prefix("grantmint-test/")).collect();
    for file in [
        "grantmint",
        "grantmint.toml",
        "systemd/grantmint.service",
        "completions/grantmint.bash",
        "completions/_grantmint",
        "completions/grantmint.fish",
        "man/grantmint.1",
        "man/grantmint-serve.1",
        "man/grantmint-health.1",
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "THIRD-PARTY-LICENSES.txt",
    ] {
        assert!(files.contains(file), "{file} is not in {files:?}");
    }

    let mut licenses = Command::new("tar");
    licenses.arg("xzOf").arg(dirs[0].path().join("grantmint-test.tar.gz"));
    let licenses = succeeds(licenses.arg("grantmint-test/THIRD-PARTY-LICENSES.txt")).await;
    assert!(licenses.contains("\naws-lc-sys ") && licenses.contains("\ntokio "));
    assert!(licenses.contains("\n\nCopyright notices for The Rust Standard Library\n"));
    assert!(!licenses.contains("\nrcgen "), "it is linked into tests alone");
}
