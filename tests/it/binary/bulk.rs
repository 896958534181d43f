//! Bulk: uniqueness, verification, refreshes.

use std::{collections::HashSet, os::unix::fs::PermissionsExt};

use grantmint::{
    provider::twilio_live::DEMO_API_KEY_SECRET,
    rpc::proto::{MintOptions, MintTokensRequest, MintTokensResponse},
};
use tokio::time::Instant;
use tonic::{Status, Streaming};

use crate::support::{Configured, Serve, reserved_port, run, series, soon, until, verified};

/// As frequent as refreshes may be with three quarters of a grant's life left for a busy machine.
const OFTEN: &str = "grant_ttl = \"24s\"\nrefresh_after = \"15s\"";

/// Reads a bulk to its end; returns the tokens in order, the chunks' generations, and the final
/// status.
pub(crate) async fn read(
    mut chunks: Streaming<MintTokensResponse>,
    first_index: i64,
) -> (Vec<String>, Vec<i64>, Option<Status>) {
    let (mut tokens, mut generations) = (Vec::new(), Vec::new());
    loop {
        match soon(chunks.message()).await {
            Ok(Some(chunk)) => {
                let next = first_index + i64::try_from(tokens.len()).expect("in range");
                assert_eq!(chunk.first_index, next, "an index is missing or repeated");
                assert!(!chunk.tokens.is_empty());
                tokens.extend(chunk.tokens);
                generations.push(chunk.validity.expect("a validity").generation);
            }
            Ok(None) => return (tokens, generations, None),
            Err(status) => return (tokens, generations, Some(status)),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_of_100_000_tokens_is_unique_and_verifies() {
    const COUNT: usize = 100_000;
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let mut client = serve.tokens().await;
    let request = series(0, i64::try_from(COUNT).expect("in range"));
    let chunks = soon(client.mint_tokens(request)).await.expect("a bulk").into_inner();
    let (tokens, _, ended) = read(chunks, 0).await;
    assert!(ended.is_none(), "{ended:?}");
    assert_eq!(tokens.len(), COUNT);

    let halves = tokens.chunks(COUNT / 2).enumerate().map(|(half, tokens)| {
        let tokens = tokens.to_vec();
        tokio::task::spawn_blocking(move || {
            let check = |(at, token): (usize, &String)| {
                let claims = verified(token);
                let identity = format!("viewer-{}", half * COUNT / 2 + at);
                assert_eq!(claims["grants"]["identity"], identity);
                assert!(claims["grants"]["player"]["playbackUrl"].is_string());
                claims["jti"].as_str().expect("a jti").to_owned()
            };
            tokens.iter().enumerate().map(check).collect::<Vec<_>>()
        })
    });
    let mut seen = HashSet::with_capacity(COUNT);
    for half in halves.collect::<Vec<_>>() {
        seen.extend(half.await.expect("a token does not verify"));
    }
    assert_eq!(seen.len(), COUNT, "a jti is repeated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_causes_one_upstream_request_per_refresh() {
    let began = Instant::now();
    let config = Configured::profile(OFTEN);
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let mut generations = HashSet::new();
    until("three grants in use", async || {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let mut client = serve.tokens().await;
            calls.spawn(async move {
                let bulk = soon(client.mint_tokens(series(0, 2_000))).await;
                read(bulk.expect("a bulk").into_inner(), 0).await
            });
        }
        for (tokens, used, ended) in calls.join_all().await {
            assert!(tokens.len() == 2_000 && ended.is_none(), "{ended:?}");
            generations.extend(used);
        }
        generations.len() >= 3
    })
    .await;
    let counters = serve.counters().await;
    assert_eq!(counters["max_in_flight"], 1, "{counters}");
    // The first, then a first cycle of any length, then at most one in 5.4 s.
    let most = 2 + began.elapsed().as_secs() / 5;
    let requests = counters["requests"].as_u64();
    assert!(requests.is_some_and(|requests| requests <= most), "more than {most}: {counters}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulks_on_one_core_do_not_block_refreshes() {
    // 43 s remain after the refresh point: next to sixteen other busy processes a refresh was seen
    // 14 s late.
    let config = Configured::profile("refresh_after = \"15s\"");
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    serve.hold_to_one_core();
    let (began, before) = (Instant::now(), serve.cpu());
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let mut client = serve.tokens().await;
        calls.spawn(async move {
            // The bulk does not wait: a late grant would end it.
            let max_wait = Some(prost_types::Duration::default());
            let options = Some(MintOptions { max_wait, ..<_>::default() });
            let request = MintTokensRequest { options, ..series(0, 1_000_000) };
            let bulk = soon(client.mint_tokens(request)).await.expect("a bulk");
            let (mut chunks, mut seen) = (bulk.into_inner(), Vec::new());
            while seen.len() < 3 {
                let chunk =
                    soon(chunks.message()).await.expect("no error").expect("an open stream");
                let generation = chunk.validity.expect("a validity").generation;
                if seen.last() != Some(&generation) {
                    seen.push(generation);
                }
            }
            seen
        });
    }
    for seen in calls.join_all().await {
        assert!(seen.is_sorted(), "a chunk used an older grant: {seen:?}");
    }
    let used = serve.cpu().saturating_sub(before);
    assert!(used > began.elapsed() / 8, "the server was not busy: {used:?}");
}

#[tokio::test]
async fn slowly_read_bulk_crosses_a_refresh() {
    let config = Configured::profile(OFTEN);
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let mut client = serve.tokens().await;
    let bulk = soon(client.mint_tokens(series(0, 1_000_000))).await.expect("a bulk");
    let mut chunks = bulk.into_inner();
    let (mut generations, mut next) = (Vec::new(), 0);
    // The reads are 20 ms apart: the client takes less than its windows allow.
    until("a third grant", async || {
        let chunk = soon(chunks.message()).await.expect("no error").expect("an open stream");
        assert_eq!(chunk.first_index, next);
        next += i64::try_from(chunk.tokens.len()).expect("in range");
        generations.push(chunk.validity.expect("a validity").generation);
        generations.dedup();
        generations.len() >= 3
    })
    .await;
    assert!(generations.is_sorted(), "a chunk used an older grant");
}

#[tokio::test]
async fn command_splits_requests_over_the_call_limit() {
    let config = Configured::with_secret(
        "[limits]\nindices = 1000\nidentities = 100",
        "",
        DEMO_API_KEY_SECRET,
    );
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let ran = run(&["bulk", "--count", "3500", "--json", "--server", &serve.server]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_indices(&ran.stdout, "user-", 3_500);

    let list = config.dir.path().join("identities");
    let lines: String =
        (0..350).fold(String::new(), |lines, index| lines + "someone-" + &index.to_string() + "\n");
    std::fs::write(&list, lines).expect("written");
    let list = list.to_str().expect("text");
    let ran = run(&["bulk", "--identities", list, "--json", "--server", &serve.server]).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_indices(&ran.stdout, "someone-", 350);
}

/// Asserts that each line has the next index, the identity of that index, and a token for that
/// identity.
pub(super) fn assert_indices(lines: &str, prefix: &str, count: usize) {
    let mut seen = HashSet::new();
    for (index, line) in lines.lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let identity = format!("{prefix}{index}");
        assert_eq!(line["index"], index);
        assert_eq!(line["identity"], identity.as_str());
        let claims = verified(line["token"].as_str().expect("a token"));
        assert_eq!(claims["grants"]["identity"], identity);
        assert!(seen.insert(claims["jti"].as_str().expect("a jti").to_owned()));
    }
    assert_eq!(seen.len(), count);
}

#[tokio::test]
async fn output_file_is_private_and_kept_until_the_first_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("tokens");
    std::fs::write(&file, "held before, and longer than a line of tokens".repeat(99))
        .expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("changed");
    let path = file.to_str().expect("text");
    let arguments = ["bulk", "--count", "1", "--patience", "0s", "-o", path];
    let closed = reserved_port().local_addr().expect("an address");
    let ran = run(&[&arguments[..], &["--server", &format!("http://{closed}")]].concat()).await;
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(std::fs::read_to_string(&file).expect("text").starts_with("held before"));

    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let ran = run(&[&arguments[..], &["--server", &serve.server]].concat()).await;
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let text = std::fs::read_to_string(&file).expect("text");
    assert!(text.starts_with("eyJ") && text.lines().count() == 1, "{text}");
    let mode = std::fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn bad_identity_is_reported_by_line_before_any_request() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("identities");
    std::fs::write(&file, "alice\n".repeat(12_345) + "\nbob\n").expect("written");
    let ran = run(&["bulk", "--identities", file.to_str().expect("text")]).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("line 12346 is empty"), "{}", ran.stderr);
}
