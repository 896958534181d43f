//! What fuzzing found worth keeping, tried again: the corpora below `fuzz/corpus`.

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets' package exports them")]
mod targets;

use std::{fs, panic::catch_unwind, path::Path};

fn replay(name: &str, target: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut tried = 0;
    for entry in fs::read_dir(&corpus).unwrap() {
        let path = entry.unwrap().path();
        let input = fs::read(&path).unwrap();
        assert!(catch_unwind(|| target(&input)).is_ok(), "see above, at {}", path.display());
        tried += 1;
    }
    assert!(tried >= 20, "{} holds {tried} inputs", corpus.display());
}

#[test]
fn every_kept_answer_of_an_upstream_is_taken_or_refused() {
    replay("upstream_answer", targets::upstream_answer);
}

#[test]
fn every_kept_retry_after_is_a_time_or_absent() {
    replay("retry_after", targets::retry_after);
}

#[test]
fn every_kept_configuration_is_good_or_has_problems_with_their_lines() {
    replay("configuration", targets::configuration);
}

#[test]
fn every_kept_mint_request_is_answered_as_documented() {
    replay("mint_request", targets::mint_request);
}

#[test]
fn every_kept_bearer_token_is_refused_and_every_key_set_read_or_not() {
    replay("bearer_token", targets::bearer_token);
}
