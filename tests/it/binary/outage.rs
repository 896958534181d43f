//! The upstream fails at startup and while calls are served.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grantmint::{clock::Clock, provider::twilio_live::PlaybackTimes, rpc::proto::MintOptions};
use serde_json::{Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::support::{
    Configured, Serve, error_metadata, found, mint, payload, reason, run, soon, until,
};

/// Options of a call that does not wait.
fn at_once() -> MintOptions {
    MintOptions { max_wait: Some(prost_types::Duration::default()), ..<_>::default() }
}

/// The refusal of a first call once the upstream's response is known.
async fn refused(serve: &Serve, expected: &str) -> Status {
    let mut client = serve.tokens().await;
    found(expected, async || {
        let answer = soon(client.mint_token(mint("early", Some(at_once())))).await;
        answer.err().filter(|status| reason(status) == expected)
    })
    .await
}

#[tokio::test]
async fn serve_starts_without_its_upstream() {
    let config = Configured::profile("upstream = \"http://127.0.0.1:9\"");
    let serve = Serve::start(&["--config", config.path()]).await;
    let status = refused(&serve, "GRANT_PENDING").await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().and_then(|info| info.retry_delay).is_some());
    until("the fault in the list", async || {
        let ran = run(&["grants", "--json", "--server", &serve.server]).await;
        ran.stdout.contains("CONNECT_FAILED")
    })
    .await;
    assert_eq!(serve.page("/livez").await.0, 200);
    serve.signal("INT");
    assert_eq!(serve.ended().await.0.code(), Some(0));
}

#[tokio::test]
async fn serve_keeps_running_when_the_upstream_rejects_it() {
    for (fault, code, expected) in [
        ("status=401", Code::FailedPrecondition, "UPSTREAM_REJECTED"),
        ("status=403", Code::FailedPrecondition, "UPSTREAM_REJECTED"),
        ("status=302", Code::FailedPrecondition, "UPSTREAM_REJECTED"),
        ("status=404", Code::NotFound, "RESOURCE_NOT_FOUND"),
        ("status=429,retry-after=30", Code::Unavailable, "UPSTREAM_THROTTLED"),
        ("body=truncated", Code::Unavailable, "GRANT_PENDING"),
    ] {
        let serve = Serve::sandboxed(&["--fault", fault]).await;
        let status = refused(&serve, expected).await;
        assert_eq!(status.code(), code, "{fault}: {status:?}");
        assert_eq!(
            error_metadata(&status, "grant").as_deref(),
            Some("profiles/demo/grants/VJ0123456789abcdef0123456789abcdef")
        );
        let ran = run(&["mint", "alice", "--max-wait", "0s", "--server", &serve.server]).await;
        let later = if code == Code::Unavailable { 3 } else { 1 };
        assert_eq!(ran.code, Some(later), "{fault}: {}", ran.stderr);
        serve.signal("INT");
        assert_eq!(serve.ended().await.0.code(), Some(0), "{fault}");
    }
}

#[tokio::test]
async fn wrong_secret_is_upstream_rejected_and_logged() {
    let sandbox = Serve::sandboxed(&[]).await;
    let upstream = format!("upstream = \"{}\"", sandbox.sandbox.as_deref().expect("a sandbox"));
    let config =
        Configured::with_secret("", &upstream, "this-is-not-the-secret-of-that-key-at-all");
    let serve = Serve::start(&["--config", config.path()]).await;
    refused(&serve, "UPSTREAM_REJECTED").await;
    serve.signal("INT");
    let (status, log) = serve.ended().await;
    assert_eq!(status.code(), Some(0));
    let loud = log.lines().filter(|line| line.contains("\"level\":\"ERROR\"")).count();
    assert_eq!(loud, 1, "expected one ERROR line for the change of state: {log}");
}

#[tokio::test]
async fn outage_is_served_until_expiry_and_recovers() {
    let config = Configured::profile("grant_ttl = \"12s\"");
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let mut client = serve.tokens().await;

    serve.set_fault("status=503").await;
    let (mut served, mut generation) = (0, 0);
    let failed = found("the grant's expiry", async || {
        match soon(client.mint_token(mint("viewer", Some(at_once())))).await {
            Ok(minted) => {
                let validity = minted.into_inner().validity.expect("a validity");
                let within = validity.use_within.expect("a duration");
                assert!(within.seconds >= 0 && within.nanos >= 0 && within != <_>::default());
                generation = validity.generation;
                served += 1;
                None
            }
            Err(status) => Some(status),
        }
    })
    .await;
    assert!(served > 0);
    assert_eq!((failed.code(), reason(&failed).as_str()), (Code::Unavailable, "GRANT_EXPIRED"));
    let end = error_metadata(&failed, "end_time").expect("an end");
    let end = humantime::parse_rfc3339(&end).expect("RFC 3339");
    let since_1970 = |micros: i64| UNIX_EPOCH + Duration::from_micros(micros.unsigned_abs());
    // It is the expiry of the last grant served, and no call was refused more than a margin before
    // it.
    let apart = |at: SystemTime| at.duration_since(end).unwrap_or_else(|error| error.duration());
    let granted = since_1970(generation) + Duration::from_secs(12);
    assert!(apart(granted) < Duration::from_millis(100), "{end:?} is not {granted:?}");
    let now = since_1970(Clock::system().now().wall.unix_micros());
    assert!(now + Duration::from_millis(2_100) > end, "refused at {now:?}, valid until {end:?}");
    let delay = failed.get_details_retry_info().and_then(|info| info.retry_delay);
    assert!(delay.is_some_and(|delay| delay <= Duration::from_secs(10)), "{delay:?}");
    let pushback = failed.metadata().get("grpc-retry-pushback-ms").expect("a trailer");
    let pushback: i64 = pushback.to_str().expect("text").parse().expect("a number");
    assert!((0..=10_000).contains(&pushback), "{pushback}");

    serve.clear_faults().await;
    let minted = found("a token again", async || {
        soon(client.mint_token(mint("viewer", Some(at_once())))).await.ok()
    })
    .await;
    assert!(minted.into_inner().validity.expect("a validity").generation > generation);
}

#[tokio::test]
async fn outage_shorter_than_the_grant_fails_no_call() {
    let serve = Serve::sandboxed(&[]).await;
    let first = serve.first_token().await.validity.expect("a validity").generation;
    let mut client = serve.tokens().await;
    serve.set_fault("reset,times=3").await;
    // A request for a newer grant pulls the next attempt forward, into the outage.
    let newer = MintOptions { after_generation: first, ..at_once() };
    let refused = soon(client.mint_token(mint("viewer", Some(newer)))).await;
    assert_eq!(reason(&refused.expect_err("there is none")), "GRANT_NOT_NEWER");
    until("a grant after three failures", async || {
        let minted = soon(client.mint_token(mint("viewer", Some(at_once())))).await;
        let minted = minted.expect("never refused").into_inner();
        minted.validity.expect("a validity").generation > first
    })
    .await;
    assert_eq!(serve.counters().await["faults"].as_u64(), Some(3));
}

#[tokio::test]
async fn repeated_grant_keeps_its_expiry() {
    let config = Configured::profile("grant_ttl = \"12s\"");
    let serve = Serve::configured(&config, &[]).await;
    let first = serve.first_token().await;
    let mut client = serve.tokens().await;
    let grants = |token: &str| -> Value {
        let payload: Value = serde_json::from_str(&payload(token)).expect("JSON");
        payload["grants"]["player"].clone()
    };
    let cached = grants(&first.token);
    let body = Value::from(json!({ "grant": cached }).to_string());
    serve.set_fault(&format!("body-text={body}")).await;

    let url = cached["playbackUrl"].as_str().expect("a URL");
    let ends = PlaybackTimes::in_url(url).and_then(|times| times.ends).expect("an end");
    let failed = found("the grant's expiry", async || {
        let minted = match soon(client.mint_token(mint("viewer", Some(at_once())))).await {
            Ok(minted) => minted.into_inner(),
            Err(status) => return Some(status),
        };
        assert_eq!(grants(&minted.token), cached);
        let use_by = minted.validity.and_then(|it| it.use_by_time).expect("a time").seconds;
        assert!(Duration::from_secs(use_by.unsigned_abs()).as_secs_f64() < ends, "{use_by}");
        None
    })
    .await;
    assert_eq!(reason(&failed), "GRANT_EXPIRED");
    let ready = serve.page("/readyz").await.1;
    assert!(ready.contains("GRANT_UNCHANGED"), "{ready}");
    let metrics = serve.page("/metrics").await.1;
    let failures = metrics.lines().find(|line| line.contains("result=\"transient\""));
    assert!(failures.is_some_and(|line| !line.ends_with(" 0")), "{failures:?}");

    serve.clear_faults().await;
    until("another grant", async || {
        let minted = soon(client.mint_token(mint("viewer", Some(at_once())))).await;
        minted.is_ok_and(|minted| grants(&minted.into_inner().token) != cached)
    })
    .await;
    serve.signal("INT");
    let (_, log) = serve.ended().await;
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains("GRANT_UNCHANGED")));
}
