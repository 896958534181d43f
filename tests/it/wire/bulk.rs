//! `MintTokens`: valid and invalid selections.

use std::collections::HashSet;

use grantmint::rpc::proto::{
    IdentityList, IdentitySeries, MintOptions, MintTokensRequest, MintTokensResponse,
    mint_tokens_request::Selection,
};
use tonic::{Code::InvalidArgument, Status};

use super::{
    harness::{MARKER, TestServer, assert_refused},
    minting::check_validity,
};
use crate::support::{soon, verified};

pub(crate) fn series_with(
    options: Option<MintOptions>,
    prefix: &str,
    count: i64,
) -> MintTokensRequest {
    let prefix = prefix.to_owned();
    let selection = Some(Selection::IdentitySeries(IdentitySeries { prefix, count }));
    MintTokensRequest { options, selection, ..MintTokensRequest::default() }
}

fn series(prefix: &str, count: i64, start_index: i64) -> MintTokensRequest {
    MintTokensRequest { start_index, ..series_with(None, prefix, count) }
}

fn list<T: Into<String>>(identities: impl IntoIterator<Item = T>) -> MintTokensRequest {
    let identities = identities.into_iter().map(Into::into).collect();
    let selection = Some(Selection::IdentityList(IdentityList { identities }));
    MintTokensRequest { selection, ..MintTokensRequest::default() }
}

/// All chunks, or the status that ended the bulk.
async fn bulk(
    server: &TestServer,
    request: MintTokensRequest,
) -> Result<Vec<MintTokensResponse>, Status> {
    let mut stream = soon(server.tokens().mint_tokens(request)).await?.into_inner();
    let mut chunks = Vec::new();
    while let Some(chunk) = soon(stream.message()).await? {
        chunks.push(chunk);
    }
    Ok(chunks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_selection_is_refused_before_the_first_chunk() {
    let server = TestServer::simple().await;
    let (selection, too_large) = ("SELECTION_INVALID", "BULK_TOO_LARGE");
    let mut one_bad = vec!["good".to_owned(); 3_000];
    one_bad[2_500] = format!("{MARKER}\u{7}");
    let with_chunk = |chunk_size| MintTokensRequest { chunk_size, ..series(MARKER, 5, 0) };
    let cases: Vec<(&str, MintTokensRequest, &str, &[&str])> = vec![
        ("missing", MintTokensRequest::default(), selection, &["selection"]),
        ("an empty list", list::<&str>([]), selection, &["identity_list.identities"]),
        ("an empty series", series(MARKER, 0, 0), selection, &["identity_series.count"]),
        ("a negative count", series(MARKER, -1, 0), selection, &["identity_series.count"]),
        ("the least count", series(MARKER, i64::MIN, 0), selection, &["identity_series.count"]),
        ("a negative start", series(MARKER, 5, -1), selection, &["start_index"]),
        ("the least start", series(MARKER, 5, i64::MIN), selection, &["start_index"]),
        ("a start beyond", series(MARKER, 5, 6), selection, &["start_index"]),
        ("a start far beyond", series(MARKER, i64::MAX - 1, i64::MAX), selection, &["start_index"]),
        (
            "a list's start beyond",
            MintTokensRequest { start_index: 2, ..list(["a"]) },
            selection,
            &["start_index"],
        ),
        ("too many", series(MARKER, 1_000_001, 0), too_large, &["identity_series.count"]),
        ("by far too many", series(MARKER, i64::MAX, 0), too_large, &["identity_series.count"]),
        ("a long list", list(vec![MARKER; 10_001]), too_large, &["identity_list.identities"]),
        ("one bad", list(one_bad), "IDENTITY_INVALID", &["identity_list.identities[2500]"]),
        (
            "an empty identity",
            list(["a", ""]),
            "IDENTITY_INVALID",
            &["identity_list.identities[1]"],
        ),
        (
            "one too long",
            list(["x".repeat(257)]),
            "IDENTITY_INVALID",
            &["identity_list.identities[0]"],
        ),
        (
            "a long prefix",
            series(&"x".repeat(255), 11, 0),
            "IDENTITY_INVALID",
            &["identity_series.prefix"],
        ),
        (
            "a longer prefix",
            series(&"x".repeat(257), 1, 0),
            "IDENTITY_INVALID",
            &["identity_series.prefix"],
        ),
        (
            "a bad prefix",
            series(&format!("{MARKER}\u{85}"), 3, 0),
            "IDENTITY_INVALID",
            &["identity_series.prefix"],
        ),
        ("a negative chunk", with_chunk(-1), "OPTION_INVALID", &["chunk_size"]),
        ("the least chunk", with_chunk(i32::MIN), "OPTION_INVALID", &["chunk_size"]),
    ];
    for (case, request, reason, fields) in cases {
        let refused = bulk(&server, request).await.unwrap_err();
        assert_refused(case, &refused, InvalidArgument, reason, fields);
    }
    server.serves(MintOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_starting_at_the_end_has_no_chunk() {
    let server = TestServer::simple().await;
    assert_eq!(bulk(&server, series("p", 5, 5)).await.unwrap(), []);
    assert_eq!(bulk(&server, series("p", i64::MAX, i64::MAX)).await.unwrap(), []);
    assert_eq!(
        bulk(&server, MintTokensRequest { start_index: 1, ..list(["a"]) }).await.unwrap(),
        []
    );
    // The far end of the largest series is served like any other part.
    let last = bulk(&server, series("p", i64::MAX, i64::MAX - 1)).await.unwrap();
    assert_eq!(last[0].first_index, i64::MAX - 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_has_every_index_and_one_generation_per_chunk() {
    let server = TestServer::simple().await;
    for (chunk_size, start, count, most) in
        [(0, 0, 1_000, 512), (7, 0, 30, 7), (7, 13, 30, 7), (1, 0, 3, 1), (i32::MAX, 0, 1_000, 512)]
    {
        let request = MintTokensRequest { chunk_size, ..series("käthe-", count, start) };
        let chunks = bulk(&server, request).await.unwrap();
        let (mut index, mut ids) = (start, HashSet::new());
        for chunk in chunks {
            assert_eq!(chunk.first_index, index);
            assert!((1..=most).contains(&chunk.tokens.len()));
            let bytes: usize = chunk.tokens.iter().map(String::len).sum();
            assert!(bytes <= 96 * 1024, "a chunk of {bytes} bytes");
            let validity = check_validity(chunk.validity.as_ref(), 2);
            for token in &chunk.tokens {
                let claims = verified(token);
                assert_eq!(claims["grants"]["identity"], format!("käthe-{index}"));
                assert_eq!(claims["exp"].as_i64(), validity.expire_time.map(|at| at.seconds));
                assert!(ids.insert(claims["jti"].as_str().unwrap().to_owned()));
                index += 1;
            }
        }
        assert_eq!(index, count, "an index is missing");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_keeps_its_order() {
    let server = TestServer::simple().await;
    let identities: Vec<_> =
        (0..300).map(|i| format!("{i} 日本\"\\ {}", "x".repeat(i % 200))).collect();
    let request = MintTokensRequest { start_index: 20, ..list(identities.clone()) };
    let chunks = bulk(&server, request).await.unwrap();
    let tokens = chunks.iter().flat_map(|chunk| &chunk.tokens);
    let seen: Vec<_> = tokens
        .map(|token| verified(token)["grants"]["identity"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(seen, identities[20..]);
    // The longest list allowed, in one request of a few hundred KiB.
    let chunks = bulk(&server, list((0..10_000).map(|i| format!("{i:0>40}")))).await.unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.tokens.len()).sum::<usize>(), 10_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunk_ends_at_96_kib_even_if_tokens_grow() {
    let server = TestServer::simple().await;
    for short in 30..90 {
        let identities =
            (0..short + 20).map(|i| if i < short { "a".into() } else { "𝄞".repeat(64) });
        for chunk in bulk(&server, list::<String>(identities)).await.unwrap() {
            // It ended before its last token, unless that one is no larger than the previous one.
            let before = chunk.tokens.len().saturating_sub(1);
            let bytes: usize = chunk.tokens.iter().take(before).map(String::len).sum();
            assert!(bytes <= 96 * 1024, "{bytes} bytes or more, after {short} short ones");
        }
    }
}
