//! `selftest`, which needs only the binary.

use std::collections::BTreeSet;

use grantmint::provider::KINDS;
use serde_json::Value;
use tokio::process::Command;

use crate::support::{BINARY, run, run_command};

/// The kinds that have vectors.
fn with_vectors() -> BTreeSet<&'static str> {
    let kinds = KINDS.iter().filter(|kind| !kind.vectors().expect("whole").is_empty());
    kinds.map(|kind| kind.name()).collect()
}

#[tokio::test]
async fn selftest_reproduces_every_vendor_token() {
    let empty = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(BINARY);
    command.arg("selftest").env_clear().current_dir(empty.path());
    let ran = run_command(command).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{}", ran.stdout);
    for kind in with_vectors() {
        let row = ran.stdout.lines().find(|line| line.split(' ').next() == Some(kind));
        assert!(row.is_some(), "{kind}: {}", ran.stdout);
    }
    for reported in ["no differences; ", "of our signatures verified", "HS256", "RS256", "EdDSA"] {
        assert!(ran.stdout.contains(reported), "{reported}: {}", ran.stdout);
    }
}

#[tokio::test]
async fn selftest_json_counts_results_by_kind() {
    let ran = run(&["selftest", "--json"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    let reported: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(reported["different"], 0);
    let mut kinds = BTreeSet::new();
    for kind in reported["kinds"].as_array().expect("a list") {
        let sum = |name: &str| -> u64 {
            let reasons = kind[name].as_array().expect("a list");
            reasons.iter().map(|reason| reason["count"].as_u64().expect("a number")).sum()
        };
        let count = |name: &str| kind[name].as_u64().expect("a number");
        let compared = count("same") + sum("alike");
        assert!(compared > 0 && count("signatures") >= compared, "{kind}");
        let others = count("refused") + sum("refused_here") + sum("left_out");
        assert_eq!(count("vectors"), compared + others, "{kind}");
        kinds.insert(kind["kind"].as_str().expect("a text"));
    }
    assert_eq!(kinds, with_vectors());
    for rate in reported["rates"].as_array().expect("a list") {
        assert!(rate["tokens_per_second"].as_f64() > Some(0.0), "{rate}");
    }
}

#[tokio::test]
async fn selftest_filters_by_kind_and_lists_kinds_if_unknown() {
    let requested = run(&["selftest", "daily", "forward", "--json"]).await;
    let reported: Value = serde_json::from_str(&requested.stdout).expect("JSON");
    let kinds: Vec<_> = reported["kinds"].as_array().expect("a list").iter().collect();
    let counts: Vec<_> = kinds.iter().map(|kind| (&kind["kind"], &kind["vectors"])).collect();
    assert_eq!(counts, [(&"daily".into(), &10.into()), (&"forward".into(), &0.into())]);

    let unknown = run(&["selftest", "dayly"]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (Some(2), ""));
    let names = KINDS.iter().map(|kind| kind.name());
    for reported in names.chain(["'dayly'", "a similar value exists: 'daily'"]) {
        assert!(unknown.stderr.contains(reported), "{reported}: {}", unknown.stderr);
    }
}
