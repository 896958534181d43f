//! Bulk: uniqueness, verification, refreshes, deadlines.

use std::{collections::HashSet, time::Duration};

use grantmint::{
    rpc::proto::MintTokensResponse,
    sandbox::{DEMO_API_KEY_SECRET, DEMO_API_KEY_SID},
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;
use tonic::{Code, Request, Status, Streaming};

use crate::support::{Configured, Serve, reason, resume_index, run, series, soon, until};

/// What is asserted of every token.
#[derive(Deserialize)]
struct Claims {
    jti: String,
    iss: String,
    exp: i64,
    grants: Grants,
}

#[derive(Deserialize)]
struct Grants {
    identity: String,
    player: serde_json::Value,
}

/// Verifies a token with the key's secret, as the player's backend would.
fn verified(token: &str) -> Claims {
    let header = decode_header(token).expect("a header");
    assert_eq!(header.cty.as_deref(), Some("twilio-fpa;v=1"));
    let mut validation = Validation::new(Algorithm::HS256);
    // To verify a hundred thousand may take longer than they live.
    validation.validate_exp = false;
    let key = DecodingKey::from_secret(DEMO_API_KEY_SECRET.as_bytes());
    let claims = decode::<Claims>(token, &key, &validation).expect("it verifies").claims;
    assert_eq!(claims.iss, DEMO_API_KEY_SID);
    claims
}

/// Reads a bulk to its end: the tokens in order, and what ended it.
async fn read(
    mut chunks: Streaming<MintTokensResponse>,
    first_index: i64,
) -> (Vec<String>, Vec<i64>, Option<Status>) {
    let (mut tokens, mut generations) = (Vec::new(), Vec::new());
    loop {
        match soon(chunks.message()).await {
            Ok(Some(chunk)) => {
                let next = first_index + i64::try_from(tokens.len()).expect("few");
                assert_eq!(chunk.first_index, next, "no index is lost or doubled");
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
async fn a_hundred_thousand_tokens_are_unique_and_each_verifies() {
    const COUNT: usize = 100_000;
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let mut client = serve.tokens().await;
    let request = series(0, i64::try_from(COUNT).expect("few"));
    let chunks = soon(client.mint_tokens(request)).await.expect("a bulk").into_inner();
    let (tokens, _, ended) = read(chunks, 0).await;
    assert!(ended.is_none(), "{ended:?}");
    assert_eq!(tokens.len(), COUNT);

    let halves = tokens.chunks(COUNT / 2).enumerate().map(|(half, tokens)| {
        let tokens = tokens.to_vec();
        tokio::task::spawn_blocking(move || {
            let check = |(at, token): (usize, &String)| {
                let claims = verified(token);
                assert_eq!(claims.grants.identity, format!("viewer-{}", half * COUNT / 2 + at));
                assert!(claims.grants.player["playbackUrl"].is_string());
                claims.jti
            };
            tokens.iter().enumerate().map(check).collect::<Vec<_>>()
        })
    });
    let mut seen = HashSet::with_capacity(COUNT);
    for half in halves.collect::<Vec<_>>() {
        seen.extend(half.await.expect("every token verifies"));
    }
    assert_eq!(seen.len(), COUNT, "every jti is another");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_costs_the_upstream_one_request_a_refresh() {
    let config = Configured::profile("grant_ttl = \"12s\"");
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let mut generations = HashSet::new();
    let mut minted = 0;
    until("four grants in use", async || {
        let mut calls = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let mut client = serve.tokens().await;
            calls.spawn(async move {
                let bulk = soon(client.mint_tokens(series(0, 2_000))).await;
                read(bulk.expect("a bulk").into_inner(), 0).await
            });
        }
        for (tokens, used, ended) in calls.join_all().await {
            assert!(ended.is_none(), "{ended:?}");
            minted += tokens.len();
            generations.extend(used);
        }
        (generations.len() >= 4).then_some(())
    })
    .await;
    assert!(minted >= 16_000);
    let counters = serve.counters().await;
    let number = |name: &str| counters[name].as_u64().expect("a number");
    let requests = number("requests");
    // One may be under way at this moment.
    assert_eq!(requests, number("granted") + number("in_flight"), "{counters}");
    assert_eq!(number("max_in_flight"), 1, "{counters}");
    // One more may have been fetched since the last chunk.
    let requests = usize::try_from(requests).expect("few");
    let refreshes = generations.len();
    assert!((refreshes..=refreshes + 1).contains(&requests), "{requests} for {refreshes} grants");
}

#[tokio::test]
async fn a_bulk_that_is_read_slowly_crosses_a_refresh() {
    let config = Configured::profile("grant_ttl = \"12s\"");
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let mut client = serve.tokens().await;
    let bulk = soon(client.mint_tokens(series(0, 1_000_000))).await.expect("a bulk");
    let mut chunks = bulk.into_inner();
    let (mut generations, mut next, mut fetched) = (Vec::new(), 0, 0);
    until("three grants in one bulk", async || {
        // So far and no further: the rest waits until there is another grant.
        let mut read = 0;
        while read < 200 {
            let chunk = soon(chunks.message()).await.expect("well").expect("not the end");
            assert_eq!(chunk.first_index, next);
            next += i64::try_from(chunk.tokens.len()).expect("few");
            read += 1;
            let generation = chunk.validity.expect("a validity").generation;
            if generations.last() != Some(&generation) {
                generations.push(generation);
            }
        }
        let present = serve.counters().await["granted"].as_u64();
        until("another refresh", async || {
            let granted = serve.counters().await["granted"].as_u64();
            (granted > present).then_some(())
        })
        .await;
        fetched += 1;
        (generations.len() >= 3 || fetched > 10).then_some(())
    })
    .await;
    assert!(generations.len() >= 3, "{generations:?}");
    assert!(generations.is_sorted(), "a chunk never goes back to an older grant");
}

#[tokio::test]
async fn a_bulk_ends_before_its_deadline_and_goes_on_where_it_ended() {
    const COUNT: i64 = 1_000_000;
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let mut client = serve.tokens().await;
    let (mut next, mut seen) = (0, HashSet::new());
    for _ in 0..3 {
        let mut request = Request::new(series(next, COUNT));
        request.set_timeout(Duration::from_millis(400));
        let chunks = soon(client.mint_tokens(request)).await.expect("a bulk").into_inner();
        let (tokens, _, ended) = read(chunks, next).await;
        let status = ended.expect("a million tokens take longer than that");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert_eq!(reason(&status), "DEADLINE_EXCEEDED");
        let resume = resume_index(&status);
        assert_eq!(resume, next + i64::try_from(tokens.len()).expect("few"));
        seen.extend(tokens);
        next = resume;
    }
    assert!(next > 0, "something was minted");
    // What is left of a smaller selection, up to its last index.
    let chunks = soon(client.mint_tokens(series(next, next + 1_000))).await.expect("a bulk");
    let (tokens, _, ended) = read(chunks.into_inner(), next).await;
    assert!(ended.is_none(), "{ended:?}");
    seen.extend(tokens);
    assert_eq!(seen.len(), usize::try_from(next + 1_000).expect("few"));
    let last = next + 999;
    assert!(seen.iter().any(|token| verified(token).grants.identity == format!("viewer-{last}")));
}

#[tokio::test]
async fn a_bulk_from_its_last_index_on_is_ok_and_empty() {
    let serve = Serve::sandboxed(&[]).await;
    serve.first_token().await;
    let mut client = serve.tokens().await;
    let chunks = soon(client.mint_tokens(series(10, 10))).await.expect("a bulk").into_inner();
    let (tokens, _, ended) = read(chunks, 10).await;
    assert!(tokens.is_empty() && ended.is_none(), "{ended:?}");
    let refused = soon(client.mint_tokens(series(11, 10))).await.expect_err("outside");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "SELECTION_INVALID")
    );
    let refused = soon(client.mint_tokens(series(0, 1_000_001))).await.expect_err("too many");
    assert_eq!(reason(&refused), "BULK_TOO_LARGE");
}

#[tokio::test]
async fn the_command_asks_for_less_where_one_call_may_not_have_it_all() {
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

/// Each line is of the next index, its identity is that index's, and so is its token's.
pub(super) fn assert_indices(lines: &str, prefix: &str, count: usize) {
    let mut seen = HashSet::new();
    for (index, line) in lines.lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let identity = format!("{prefix}{index}");
        assert_eq!(line["index"], index);
        assert_eq!(line["identity"], identity.as_str());
        let claims = verified(line["token"].as_str().expect("a token"));
        assert_eq!(claims.grants.identity, identity);
        assert!(claims.exp > 0 && seen.insert(claims.jti));
    }
    assert_eq!(seen.len(), count);
}
