//! The workflows of GitHub Actions: no lint, and only targets that the Makefile has.

use std::fs;

use serde_json::{Value, json};

use super::root;
use crate::kinds::node::in_node;

const MAKEFILE: &str = include_str!("../../../Makefile");

#[tokio::test]
async fn workflows_have_no_lint_and_call_make() {
    let folder = root().join(".github/workflows");
    let mut workflows = Vec::new();
    for entry in fs::read_dir(folder).expect("workflows") {
        let path = entry.expect("a file").path();
        let text = fs::read_to_string(&path).expect("text");
        let targets = text.lines().filter_map(|line| line.split_once("run: make "));
        let targets: Vec<_> = targets.map(|(_, target)| target.to_owned()).collect();
        assert!(!targets.is_empty(), "{} calls no target", path.display());
        for target in targets {
            assert!(MAKEFILE.contains(&format!("\n{target}:")), "make {target}");
        }
        workflows.push(json!({"file": path, "text": text}));
    }
    assert!(workflows.len() >= 2, "{workflows:?}");
    let found = in_node("workflows.js", &Value::Array(workflows)).await;
    assert!(found.is_empty(), "{found:#?}");
}
