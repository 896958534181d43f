//! Slow signatures on the real binary: RSA in a pool of one thread, next to HMACs that never wait.

use std::{collections::HashSet, fs, time::Duration};

use grantmint::{
    rpc::proto::{
        MintOptions, MintTokenRequest, MintTokensRequest, token_service_client::TokenServiceClient,
    },
    token::private::verifying_key,
};
use jsonwebtoken::{Algorithm, crypto};
use serde_json::Value;
use tempfile::TempDir;
use tonic::{Code, Request, transport::Channel};
use tonic_types::StatusExt;

use crate::{
    page::Page,
    support::{Serve, error_metadata, mint, reason, run, series, soon, until},
};

const KEYS: &str = include_str!("../../vectors/keys.json");

const HMAC: &str = "ugVuYHkADn89s61poB22XUaASmhRGVlJjcLnfuGpRFku";

const PROFILES: &str = r#"
default_profile = "rsa"
[signing]
threads = 1
queue = 2
[limits]
slow_indices = 1000

[profiles.shared]
kind = "jwt"
alg = "RS256"
private_key_file = "DIR/rsa_pkcs8"
allow_resources = ["*"]
unique = false
reuse_for = "1h"
token_ttl = "2h"
claims = { sub = { from = "resource" }, exp = { from = "exp" }, iat = { from = "now" } }

[profiles.push]
kind = "jwt"
alg = "ES256"
private_key_file = "DIR/p256_pkcs8"
no_exp = true
unique = false
reuse_for = "30m"
claims = { iss = "TEAM", iat = { from = "now" } }
"#;

/// A profile of an algorithm, with this key setting.
fn of_algorithm(name: &str, algorithm: &str, key: &str) -> String {
    format!(
        "[profiles.{name}]\nkind = \"jwt\"\nalg = \"{algorithm}\"\n{key}\n\
         claims = {{ sub = {{ from = \"identity\" }}, exp = {{ from = \"exp\" }} }}\n"
    )
}

/// A server with a profile of each algorithm and those above, and the directory of their keys.
async fn serve() -> (Serve, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let keys: std::collections::BTreeMap<String, String> = serde_json::from_str(KEYS).unwrap();
    for (name, key) in &keys {
        fs::write(dir.path().join(name), key).unwrap();
    }
    fs::write(dir.path().join("hmac"), HMAC).unwrap();
    let config = dir.path().join("config");
    let mut text = PROFILES.to_owned();
    for (name, algorithm, key) in [
        ("rsa", "RS256", "rsa_pkcs1"),
        ("p384", "ES384", "p384_jwk"),
        ("p256", "ES256", "p256_sec1"),
        ("pss", "PS256", "rsa_pkcs8"),
        ("ed25519", "EdDSA", "ed25519_pkcs8"),
    ] {
        text += &of_algorithm(name, algorithm, &format!("private_key_file = \"DIR/{key}\""));
    }
    text += &of_algorithm("hmac", "HS256", "key_file = \"DIR/hmac\"");
    fs::write(&config, text.replace("DIR", dir.path().to_str().unwrap())).unwrap();
    let serve = Serve::start(&["--config", config.to_str().unwrap()]).await;
    (serve, dir)
}

fn of(profile: &str, identity: &str, resource: &str) -> MintTokenRequest {
    let (profile, resource) = (profile.to_owned(), resource.to_owned());
    mint(identity, Some(MintOptions { profile, resource, ..MintOptions::default() }))
}

fn bulk(profile: &str, count: i64) -> MintTokensRequest {
    let profile = profile.to_owned();
    let options = Some(MintOptions { profile, ..MintOptions::default() });
    MintTokensRequest { options, ..series(0, count) }
}

/// How many tokens or chunks have waited for a thread.
const DELAYS: &str = "grantmint_signing_queue_delay_seconds_count";

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
async fn figure(serve: &Serve, name: &str) -> u64 {
    Page::read(&serve.page("/metrics").await.1).figure(name, &[]) as u64
}

async fn token(tokens: &mut TokenServiceClient<Channel>, request: MintTokenRequest) -> String {
    soon(tokens.mint_token(request)).await.expect("a token").into_inner().token
}

fn is_signed(token: &str, key: &str, algorithm: Algorithm) -> bool {
    let (message, signature) = token.rsplit_once('.').unwrap();
    let key = verifying_key(key, algorithm).unwrap();
    crypto::verify(signature, message.as_bytes(), &key, algorithm).unwrap()
}

#[tokio::test]
async fn tokens_of_every_algorithm_verify_with_the_public_key() {
    let (serve, dir) = serve().await;
    let mut tokens = serve.tokens().await;
    for (profile, key, algorithm) in [
        ("rsa", "rsa_pkcs1_public", Algorithm::RS256),
        ("p384", "p384_jwk", Algorithm::ES384),
        ("p256", "p256_public", Algorithm::ES256),
        ("pss", "public", Algorithm::PS256),
        ("ed25519", "ed25519_jwk", Algorithm::EdDSA),
    ] {
        let minted = token(&mut tokens, of(profile, "alice", "")).await;
        let key = dir.path().join(key);
        assert!(is_signed(&minted, &fs::read_to_string(&key).unwrap(), algorithm), "{profile}");
        let key = key.to_str().unwrap();
        let ran = run(&["inspect", "--json", "--key-file", key, &minted]).await;
        let read: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!((ran.code, &read["signature"]), (Some(0), &"valid".into()), "{profile}");
        let mut changed = minted.into_bytes();
        let at = changed.iter().position(|byte| *byte == b'.').unwrap() + 2;
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        let ran = run(&["inspect", "--key-file", key, &changed]).await;
        assert_eq!(ran.code, Some(1), "{profile}: {}", ran.stdout);
    }
    let other = dir.path().join("p384_pkcs8");
    let minted = token(&mut tokens, of("rsa", "alice", "")).await;
    let ran = run(&["inspect", "--key-file", other.to_str().unwrap(), &minted]).await;
    assert!(ran.stderr.contains("is a key on the curve P-384, and RS256 needs an RSA key"));
}

#[tokio::test]
async fn hmac_calls_are_served_during_an_rsa_bulk() {
    let (serve, dir) = serve().await;
    let mut tokens = serve.tokens().await;
    let mut chunks = soon(tokens.mint_tokens(bulk("rsa", 1_000))).await.unwrap().into_inner();
    let (mut minted, mut interleaved) = (HashSet::new(), 0);
    let key = fs::read_to_string(dir.path().join("rsa_pkcs1_public")).unwrap();
    while let Some(chunk) = soon(chunks.message()).await.unwrap() {
        assert!(chunk.tokens.len() <= 64, "{}", chunk.tokens.len());
        assert_eq!(chunk.first_index, i64::try_from(minted.len()).unwrap());
        for (index, token) in (chunk.first_index..).zip(chunk.tokens) {
            assert!(is_signed(&token, &key, Algorithm::RS256), "{index}");
            minted.insert(token);
        }
        // On the same connection, between two chunks.
        token(&mut tokens, of("hmac", "alice", "")).await;
        token(&mut tokens, of("rsa", "alice", "")).await;
        interleaved += 2;
    }
    assert_eq!(minted.len(), 1_000);
    assert!(interleaved >= 2 * (1_000 / 64), "{interleaved}");
    assert_eq!(figure(&serve, "grantmint_signing_queue_depth").await, 0);
    // A thread is reported idle after its signature has been returned.
    until("an idle thread", async || figure(&serve, "grantmint_signing_threads_busy").await == 0)
        .await;
    assert_eq!(figure(&serve, DELAYS).await, 1_000_u64.div_ceil(64) + interleaved / 2);

    let refused = soon(tokens.mint_tokens(bulk("rsa", 1_001))).await.unwrap_err();
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::InvalidArgument, "BULK_TOO_LARGE")
    );
    soon(tokens.mint_tokens(bulk("hmac", 1_001))).await.expect("HMACs are fast");
}

#[tokio::test]
async fn calls_over_the_queue_limit_get_overloaded() {
    let (serve, _dir) = serve().await;
    let tokens = serve.tokens().await;
    let calls = (0..64).map(|number| {
        let mut tokens = tokens.clone();
        tokio::spawn(async move {
            soon(tokens.mint_token(of("rsa", &format!("viewer-{number}"), ""))).await
        })
    });
    let calls: Vec<_> = calls.collect();
    let (mut served, mut overloaded) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => served += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                assert_eq!(reason(&status), "OVERLOADED");
                let delay = status.get_details_retry_info().unwrap().retry_delay.unwrap();
                assert!(delay < Duration::from_secs(10), "{delay:?}");
                assert!(status.metadata().contains_key("grpc-retry-pushback-ms"));
                overloaded += 1;
            }
        }
    }
    assert!(served >= 3, "expected one signature in progress and two waiting: {served}");
    assert!(overloaded > 0, "{served}");
}

#[tokio::test]
async fn a_slow_bulk_ends_itself_before_its_deadline() {
    let (serve, _dir) = serve().await;
    let mut tokens = serve.tokens().await;
    let mut request = Request::new(bulk("rsa", 1_000));
    request.set_timeout(Duration::from_millis(700));
    let mut chunks = soon(tokens.mint_tokens(request)).await.unwrap().into_inner();
    let mut sent = 0;
    let ended = loop {
        match soon(chunks.message()).await {
            Ok(Some(chunk)) => sent += chunk.tokens.len(),
            Ok(None) => return assert_eq!(sent, 1_000, "an unfinished bulk ended with OK"),
            Err(status) => break status,
        }
    };
    let resume = error_metadata(&ended, "resume_index").unwrap();
    assert_eq!(resume, sent.to_string(), "{ended:?}");
    assert!(["OVERLOADED", "DEADLINE_EXCEEDED"].contains(&reason(&ended).as_str()), "{ended:?}");
}

#[tokio::test]
async fn identical_calls_share_one_signature() {
    let (serve, _dir) = serve().await;
    let tokens = serve.tokens().await;
    let calls = (0..100).map(|number| {
        let mut tokens = tokens.clone();
        tokio::spawn(async move {
            token(&mut tokens, of("shared", &format!("viewer-{number}"), "film")).await
        })
    });
    let calls: Vec<_> = calls.collect();
    let mut minted = HashSet::new();
    for call in calls {
        minted.insert(call.await.unwrap());
    }
    assert_eq!(minted.len(), 1);
    assert_eq!(figure(&serve, DELAYS).await, 1);
    let mut tokens = tokens;
    assert!(minted.insert(token(&mut tokens, of("shared", "alice", "other film")).await));
    let options = MintOptions {
        profile: "shared".to_owned(),
        resource: "film".to_owned(),
        ttl: Some(prost_types::Duration { seconds: 4_000, nanos: 0 }),
        ..MintOptions::default()
    };
    assert!(minted.insert(token(&mut tokens, mint("alice", Some(options.clone()))).await));
    assert_eq!(figure(&serve, DELAYS).await, 3);

    let request = MintTokensRequest { options: Some(options), ..series(0, 10_000) };
    let mut chunks = soon(tokens.mint_tokens(request)).await.unwrap().into_inner();
    let mut shared = 0;
    while let Some(chunk) = soon(chunks.message()).await.unwrap() {
        assert!(chunk.tokens.iter().all(|token| minted.contains(token)));
        shared += chunk.tokens.len();
    }
    assert_eq!((shared, figure(&serve, DELAYS).await), (10_000, 3));

    // ECDSA signatures differ each time.
    let first = token(&mut tokens, of("push", "alice", "")).await;
    assert_eq!(first, token(&mut tokens, of("push", "bob", "")).await);
    let ran = run(&["inspect", "--json", &first]).await;
    let read: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(read["claims"]["iat"].as_i64().unwrap() % 1_800, 0);
    assert!(read["claims"].get("exp").is_none());
}

#[tokio::test]
async fn a_drain_ends_a_slow_bulk_after_its_chunk() {
    let (serve, _dir) = serve().await;
    let mut tokens = serve.tokens().await;
    let mut chunks = soon(tokens.mint_tokens(bulk("rsa", 1_000))).await.unwrap().into_inner();
    let mut sent = soon(chunks.message()).await.unwrap().unwrap().tokens.len();
    serve.signal("INT");
    let ended = loop {
        match soon(chunks.message()).await {
            Ok(Some(chunk)) => sent += chunk.tokens.len(),
            Ok(None) => panic!("the bulk ended with OK after {sent} tokens"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason(&ended), "DRAINING", "{ended:?}");
    assert_eq!(error_metadata(&ended, "resume_index"), Some(sent.to_string()));
    assert_eq!(soon(serve.ended()).await.0.code(), Some(0));
}

#[tokio::test]
async fn check_reports_the_cost_of_each_algorithm() {
    let (_serve, dir) = serve().await;
    let config = dir.path().join("config");
    let ran = run(&["check", "--json", config.to_str().unwrap()]).await;
    let read: Value = serde_json::from_str(&ran.stdout).unwrap();
    let signing = |profile: &str| read["profiles"][profile]["promise"]["signing"].clone();
    let rate = |profile: &str| signing(profile)["tokens_per_second_per_core"].as_u64().unwrap();
    assert_eq!(signing("rsa")["algorithm"], "RS256");
    assert_eq!(
        (signing("rsa")["bulk_tokens"].as_u64(), signing("rsa")["threads"].as_u64()),
        (Some(1_000), Some(1))
    );
    assert_eq!(
        (signing("shared")["bulk_tokens"].as_u64(), signing("hmac")["threads"].as_u64()),
        (Some(1_000_000), None)
    );
    assert!(rate("rsa") > 0 && rate("hmac") > rate("rsa"), "{read:#}");
    let ran = run(&["check", config.to_str().unwrap()]).await;
    assert!(ran.stdout.contains("  a bulk call may request 1000 tokens"), "{}", ran.stdout);
}
