//! The systemd unit, analyzed by systemd itself.

use std::fs;

use tempfile::TempDir;
use tokio::process::Command;

use super::root;
use crate::{python::succeeds, support::BINARY};

const UNIT: &str = include_str!("../../../deploy/systemd/grantmint.service");

/// `systemd-analyze` of Debian's package systemd.
fn analyze(arguments: &[&str]) -> Command {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments);
    command
}

#[tokio::test]
async fn unit_is_valid_and_its_exposure_at_most_1_5() {
    let unit = root().join("deploy/systemd/grantmint.service");
    let mut security = analyze(&["security", "--offline=true", "--threshold=15"]);
    succeeds(security.arg(&unit)).await;

    // Verifying wants the programs to exist.
    let dir = TempDir::new().expect("a directory");
    let copy = dir.path().join("grantmint.service");
    let installed = "/usr/local/bin/grantmint";
    assert_eq!(UNIT.matches(installed).count(), 1);
    fs::write(&copy, UNIT.replace(installed, BINARY)).expect("written");
    succeeds(analyze(&["verify", "--man=no"]).arg(&copy)).await;
}

#[test]
fn unit_allows_the_time_that_start_and_drain_take() {
    let seconds = |key: &str| {
        let value = UNIT.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        humantime::parse_duration(value.expect(key)).expect("a duration").as_secs()
    };
    // The server is ready 60 s after its start at the latest.
    assert!(seconds("TimeoutStartSec") > 60);
    // drain_delay and drain_grace.
    assert!(seconds("TimeoutStopSec") > 3 + 5);
}
