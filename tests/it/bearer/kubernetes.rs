//! Tokens of a cluster's service accounts. The cluster's keys change, and it is not always
//! available.

use std::fs;

use futures_util::{StreamExt, stream};
use grantmint::provider::twilio_live::DEMO_API_KEY_SECRET;
use serde_json::{Value, json};
use tokio::time::Instant;
use tonic::Code;
use tonic_types::StatusExt;

use super::{
    AUDIENCE, call,
    cluster::{Cluster, DISCOVERY, KEYS},
    entry, refusal,
    signer::{Signers, claims},
};
use crate::{
    audit::complete_records,
    markers::Markers,
    support::{Configured, Serve, found, reason, until},
    tls::pki::Entity,
};

/// A configuration for the cluster, with these keys in the issuer's section and these tables; `DIR`
/// is replaced by its directory.
fn configured(cluster: &Cluster, own_token: &str, keys: &str, tables: &str) -> Configured {
    let top = format!(
        "{tables}\n[issuers.cluster]\nkind = \"kubernetes\"\naudience = \"{AUDIENCE}\"\n\
         api_server = \"{}\"\ntoken_file = \"DIR/token\"\n{keys}\n{}",
        cluster.url,
        entry("cluster", "")
    );
    let config = Configured::with_secret(&top, "", DEMO_API_KEY_SECRET);
    fs::write(config.dir.path().join("token"), own_token).expect("written");
    let text = fs::read_to_string(&config.file).expect("text");
    let text = text.replace("DIR", config.dir.path().to_str().expect("text"));
    fs::write(&config.file, text).expect("written");
    config
}

/// A server that uses the cluster.
pub(crate) async fn serve(
    cluster: &Cluster,
    own_token: &str,
    more: &[&str],
) -> (Serve, Configured) {
    let config = configured(cluster, own_token, "", "");
    (Serve::configured(&config, more).await, config)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_come_from_the_api_server_and_rotate_safely() {
    let (first, second) = (Signers::new("first"), Signers::new("second"));
    let cluster = Cluster::start(first.jwks(), "own-1", 200).await;
    let (serve, config) = serve(&cluster, "own-1\n", &[]).await;
    let channel = serve.channel().await;
    found("a token", async || call(&channel, &first.token(&json!({}))).await.ok()).await;
    assert_eq!((cluster.requests_for(DISCOVERY), cluster.requests_for(KEYS)), (1, 1));

    // The keys change, and so does the token for fetching them.
    let both = [first.keys(), second.keys()].concat();
    let both = json!({"keys": both});
    cluster.set_keys(both.to_string());
    cluster.set_token("own-2");
    fs::write(config.dir.path().join("token"), "own-2").expect("written");
    for _ in 0..20 {
        for signers in [&second, &first] {
            let answer = call(&channel, &signers.token(&json!({}))).await;
            assert!(answer.is_ok(), "{answer:?}");
        }
    }
    assert_eq!(
        (cluster.requests_for(DISCOVERY), cluster.requests_for(KEYS)),
        (1, 2),
        "one fetch brought it"
    );
    let (status, page) = serve.page("/readyz").await;
    assert_eq!(status, 200);
    assert!(page.contains("issuers/cluster: 6 keys"), "{page}");
    let (_, page) = serve.page("/metrics").await;
    assert!(page.contains("grantmint_issuer_keys_fetch_timestamp_seconds{issuer=\"cluster\"} "));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_key_in_10_000_calls_causes_one_fetch() {
    let (known, unknown) = (Signers::new("known"), Signers::new("unknown"));
    let cluster = Cluster::start(known.jwks(), "own", 200).await;
    let (serve, _config) = serve(&cluster, "own", &["--log", "info"]).await;
    let channel = serve.channel().await;
    found("a token", async || call(&channel, &known.token(&json!({}))).await.ok()).await;
    let token = unknown.token(&json!({}));
    let began = Instant::now();
    // A connection with refused calls is paused, so the test uses many of them.
    let of_connection = async || {
        let channel = serve.channel().await;
        let calls = stream::iter(0..200).map(|_| call(&channel, &token)).buffer_unordered(4);
        calls.map(|answer| answer.expect_err("refused")).collect::<Vec<_>>().await
    };
    let connections = stream::iter(0..50).map(|_| of_connection()).buffer_unordered(5);
    let refusals = connections.collect::<Vec<_>>().await.concat();
    let periods = usize::try_from(began.elapsed().as_secs() / 30 + 1).expect("a number");
    let requests_for = cluster.requests_for(KEYS) - 1;
    assert!(
        (1..=periods).contains(&requests_for),
        "{requests_for} requests in {periods} periods of 30 s"
    );
    let mut unverifiable = 0;
    for status in &refusals {
        match status.code() {
            Code::Unauthenticated => assert_eq!(refusal(status).1.as_deref(), Some("unknown_key")),
            Code::Unavailable => {
                assert_eq!(reason(status), "CALLER_UNVERIFIABLE");
                let retry = status.get_details_retry_info().and_then(|it| it.retry_delay);
                assert!(retry.expect("a delay").as_secs() <= 30);
                unverifiable += 1;
            }
            _ => panic!("{status:?}"),
        }
    }
    assert!(unverifiable > 9_900 && unverifiable < 10_000, "{unverifiable}");
    // Of several unknown keys, up to two are looked up in 30 s.
    let channel = serve.channel().await;
    let began = Instant::now();
    for kid in ["other", "third", "fourth"] {
        let answer = call(&channel, &Signers::new(kid).token(&json!({}))).await;
        assert!(answer.is_err());
    }
    let periods = usize::try_from(began.elapsed().as_secs() / 30 + 1).expect("a number");
    let more = cluster.requests_for(KEYS) - 1 - requests_for;
    assert!((1..=2 * periods).contains(&more), "{more} requests in {periods} periods");
    assert!(call(&channel, &known.token(&json!({}))).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cluster_outage_fails_no_call_with_a_known_key() {
    let (signers, unknown) = (Signers::new("k"), Signers::new("unknown"));
    let cluster = Cluster::start(signers.jwks(), "own", 500).await;
    let (serve, _config) = serve(&cluster, "own", &[]).await;
    let channel = serve.channel().await;
    let status = call(&channel, &signers.token(&json!({}))).await.expect_err("no keys yet");
    assert_eq!((status.code(), &*reason(&status)), (Code::Unavailable, "CALLER_UNVERIFIABLE"));
    let (ready, page) = serve.page("/readyz").await;
    assert_eq!(ready, 503, "{page}");
    assert!(page.contains("issuers/cluster: no keys yet"), "{page}");

    cluster.set_status(200);
    until("it is ready", async || serve.page("/readyz").await.0 == 200).await;
    found("a token", async || call(&channel, &signers.token(&json!({}))).await.ok()).await;
    cluster.set_status(500);
    let remembered = signers.token(&json!({}));
    for call_number in 0..200 {
        if call_number % 50 == 25 {
            let answer = call(&channel, &unknown.token(&json!({}))).await;
            assert_eq!(reason(&answer.expect_err("unknown")), "CALLER_UNVERIFIABLE");
        }
        let token = signers.token(&json!({"jti": call_number}));
        for token in [&token, &remembered] {
            let answer = call(&channel, token).await;
            assert!(answer.is_ok(), "{answer:?}");
        }
    }
    assert_eq!(serve.page("/readyz").await.0, 200);
    serve.signal("INT");
    let log = serve.ended().await.1;
    assert!(log.contains("fetching issuer keys failed; retrying"), "{log}");
    assert!(!log.contains("own\"") && !log.contains("Bearer own"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_audience_applies_after_reload_and_key_fetch() {
    let signers = Signers::new("k");
    let cluster = Cluster::start(signers.jwks(), "own", 200).await;
    let (serve, config) = serve(&cluster, "own", &[]).await;
    let channel = serve.channel().await;
    let token = signers.token(&json!({}));
    found("a token", async || call(&channel, &token).await.ok()).await;
    let text = fs::read_to_string(&config.file).expect("text");
    let other = text.replace("audience = \"mint\"", "audience = \"other\"");
    fs::write(&config.file, other).expect("written");
    serve.signal("HUP");
    until("the token is for another audience", async || {
        let answer = call(&channel, &token).await;
        answer.is_err_and(|status| refusal(&status).1.as_deref() == Some("wrong_audience"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn issuer_without_keys_has_no_valid_tokens() {
    let (signers, unknown) = (Signers::new("k"), Signers::new("unknown"));
    let cluster = Cluster::start(signers.jwks(), "own", 200).await;
    let (serve, _config) = serve(&cluster, "own", &[]).await;
    let channel = serve.channel().await;
    let named = signers.token(&json!({}));
    let nameless = signers.es256("{\"alg\":\"ES256\"}", &claims(&json!({})).to_string());
    found("a token", async || call(&channel, &named).await.ok()).await;
    for token in [&named, &nameless, &named, &nameless] {
        call(&channel, token).await.expect("a token");
    }

    cluster.set_keys("{\"keys\": []}".to_owned());
    call(&channel, &named).await.expect("the keys have not been fetched yet");
    let cause = async |token: &str| {
        let (reason, cause) = refusal(&call(&channel, token).await.expect_err("refused"));
        assert_eq!(reason, "CALLER_UNAUTHENTICATED");
        cause.expect("a cause")
    };
    assert_eq!(cause(&unknown.token(&json!({}))).await, "unknown_key");
    assert_eq!(cause(&named).await, "unknown_key");
    assert_eq!(cause(&nameless).await, "bad_signature");
    assert!(serve.page("/readyz").await.1.contains("issuers/cluster: 0 keys"));
    serve.signal("INT");
    let log = serve.ended().await.1;
    assert!(log.contains("issuer publishes no usable key; all its tokens are refused"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_trusts_only_the_ca_file_and_reloads_it() {
    let (ours, other) = (Entity::authority("cluster"), Entity::authority("other"));
    let (first, second) = (Signers::new("first"), Signers::new("second"));
    let cluster = Cluster::over_tls(other.serves(), first.jwks(), "own").await;
    let config = configured(&cluster, "own", "ca = \"DIR/ca.crt\"", "");
    let in_dir = |name: &str| config.dir.path().join(name);
    fs::write(in_dir("ca.crt"), ours.pem()).expect("written");
    // System roots are not trusted here.
    fs::write(in_dir("system.crt"), other.pem()).expect("written");
    let system = format!("export SSL_CERT_FILE={}", in_dir("system.crt").display());
    let serve = Serve::under(&system, &["--sandbox", "--config", config.path()]).await;
    let channel = serve.channel().await;
    until("it is tried twice", async || cluster.distrusted() >= 2).await;
    let status = call(&channel, &first.token(&json!({}))).await.expect_err("no keys");
    assert_eq!(reason(&status), "CALLER_UNVERIFIABLE");
    assert_eq!((cluster.requests_for(DISCOVERY), cluster.requests_for(KEYS)), (0, 0));

    cluster.set_tls(ours.serves());
    found("a token", async || call(&channel, &first.token(&json!({}))).await.ok()).await;

    // The authority and its file change: the next fetch uses the new one.
    cluster.set_tls(other.serves());
    cluster.set_keys(second.jwks());
    fs::write(in_dir("ca.crt"), other.pem()).expect("written");
    let distrusted = cluster.distrusted();
    let answer = call(&channel, &second.token(&json!({}))).await;
    assert!(answer.is_ok(), "{answer:?}");
    assert_eq!(cluster.distrusted(), distrusted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unverifiable_tokens_are_summed_in_the_audit_log() {
    const CALLS: u64 = 300;

    let signers = Signers::new("k");
    let cluster = Cluster::start(signers.jwks(), "own", 500).await;
    let config = configured(&cluster, "own", "", "[audit]\nfile = \"DIR/audit.jsonl\"");
    let file = config.dir.path().join("audit.jsonl");
    let serve = Serve::configured(&config, &[]).await;
    let channel = serve.channel().await;
    let token = signers.token(&json!({}));
    for _ in 0..CALLS {
        let status = call(&channel, &token).await.expect_err("no keys");
        assert_eq!(reason(&status), "CALLER_UNVERIFIABLE");
    }
    let of_refusals = || {
        let mut all = complete_records(&file);
        all.retain(|record| record["reason"] == "CALLER_UNVERIFIABLE");
        all
    };
    let refused = |record: &Value| record["count"].as_u64().unwrap_or(1);
    until("all are recorded", async || of_refusals().iter().map(refused).sum::<u64>() == CALLS)
        .await;
    let all = of_refusals();
    assert!(all.len() < 60, "{} records", all.len());
    for record in &all {
        let reported = (&record["event"], &record["method"], &record["caller"]);
        assert_eq!(reported, (&"refused".into(), &"MintToken".into(), &Value::Null), "{record}");
    }
    let mut markers = Markers::default();
    markers.add_token(&token);
    markers.in_none_of("the audit log", &fs::read_to_string(&file).expect("text"));
}
