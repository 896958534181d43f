//! Runs the fuzz targets on the inputs stored in `fuzz/corpus`.

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets' package exports them")]
mod targets;

use std::{fs, panic::catch_unwind, path::Path};

fn replay(name: &str, target: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut count = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        assert!(catch_unwind(|| target(&input)).is_ok(), "panic on {}", path.display());
        count += 1;
    }
    assert!(count >= 20, "{} has only {count} inputs", corpus.display());
}

#[test]
fn every_upstream_response_is_accepted_or_refused() {
    replay("upstream_answer", targets::upstream_answer);
}

#[test]
fn every_retry_after_is_a_time_or_absent() {
    replay("retry_after", targets::retry_after);
}

#[test]
fn every_configuration_is_valid_or_has_problems_with_lines() {
    replay("configuration", targets::configuration);
}

#[test]
fn every_mint_request_gets_a_documented_response() {
    replay("mint_request", targets::mint_request);
}

#[test]
fn bearer_tokens_and_key_sets_never_panic() {
    replay("bearer_token", targets::bearer_token);
}
