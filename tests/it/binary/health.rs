//! gRPC health and the admin pages at startup, in operation and during shutdown.

use std::time::Duration;

use grantmint::{
    provider::twilio_live::DEMO_API_KEY_SECRET,
    rpc::proto::{WatchGrantsRequest, grant::State},
};
use tonic::{Code, Streaming};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus,
};

use super::bulk::read;
use crate::support::{Configured, Serve, found, mint, request, series, soon, until};

const EVERY: [&str; 4] =
    ["", "grantmint.v1.TokenService", "grantmint.v1.GrantService", "profiles/demo"];

fn of(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.to_owned() }
}

async fn check(serve: &Serve, service: &str) -> ServingStatus {
    let answer = soon(serve.health().await.check(of(service))).await;
    answer.unwrap_or_else(|status| panic!("{service:?}: {status}")).into_inner().status()
}

async fn watch(serve: &Serve, service: &str) -> Streaming<HealthCheckResponse> {
    soon(serve.health().await.watch(of(service))).await.expect("a watch").into_inner()
}

async fn next(watch: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    soon(watch.message()).await.expect("no error").expect("an open stream").status()
}

#[tokio::test]
async fn readyz_reports_observe_mode() {
    let observed = "[server]\nauthorize = \"observe\"\n[callers.demo]\nmatch = [\"loopback\"]\n\
                    allow = []";
    let config = Configured::with_secret(observed, "", DEMO_API_KEY_SECRET);
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let (status, page) = serve.page("/readyz").await;
    let second = page.lines().nth(1).unwrap_or_default();
    assert_eq!((status, second), (200, ONLY_OBSERVED), "{page}");
}

const ONLY_OBSERVED: &str = "calls that [callers] denies are logged and served";

#[tokio::test]
async fn health_is_serving_from_the_first_grant() {
    let serve = Serve::sandboxed(&["--fault", "hang"]).await;
    let mut watches = Vec::new();
    for service in EVERY {
        assert_eq!(check(&serve, service).await, ServingStatus::NotServing, "{service:?}");
        let mut watch = watch(&serve, service).await;
        assert_eq!(next(&mut watch).await, ServingStatus::NotServing, "{service:?}");
        watches.push(watch);
    }
    assert_eq!(serve.page("/livez").await, (200, "live\n".to_owned()));
    let (status, body) = serve.page("/readyz").await;
    assert!(status == 503 && body.starts_with("not ready\n"), "{status} {body}");
    assert!(body.contains("profiles/demo/grants/VJ") && body.contains("pending"), "{body}");
    let (status, metrics) = serve.page("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.ends_with("# EOF\n") && metrics.contains("grantmint_upstream_requests_total"));

    // If an attempt hangs, the next one comes after its 2 s.
    serve.clear_faults().await;
    for (service, mut watch) in EVERY.into_iter().zip(watches) {
        assert_eq!(next(&mut watch).await, ServingStatus::Serving, "{service:?}");
        assert_eq!(check(&serve, service).await, ServingStatus::Serving, "{service:?}");
    }
    let (status, body) = serve.page("/readyz").await;
    assert!(status == 200 && body.starts_with("ready\n") && body.contains("live"), "{body}");
    let unknown = soon(serve.health().await.check(of("profiles/nobody"))).await;
    assert_eq!(unknown.expect_err("there is none").code(), Code::NotFound);
}

#[tokio::test]
async fn profile_health_ends_at_grant_expiry_readiness_stays() {
    let config = Configured::profile("grant_ttl = \"12s\"");
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let mut profile = watch(&serve, "profiles/demo").await;
    let mut whole = watch(&serve, "").await;
    for watch in [&mut profile, &mut whole] {
        until("serving", async || next(watch).await == ServingStatus::Serving).await;
    }
    let mut grants = serve.grants().await;
    let mut follow = soon(grants.watch_grants(WatchGrantsRequest::default()))
        .await
        .expect("a watch")
        .into_inner();

    // After two refusals it is probed rarely: between probes only the time changes.
    serve.set_fault("status=401").await;
    let expired = found("the grant expired", async || {
        let changed = soon(follow.message()).await.expect("no error").expect("an open stream");
        changed.grants.into_iter().find(|grant| grant.state() == State::Expired)
    })
    .await;
    assert_eq!(expired.last_fault.map(|fault| fault.reason).as_deref(), Some("HTTP_STATUS_401"));
    // Not at the next probe, which comes up to half a minute later.
    let requested = serve.counters().await["requests"].clone();
    assert_eq!(next(&mut profile).await, ServingStatus::NotServing);
    assert_eq!(serve.counters().await["requests"], requested);
    assert_eq!(check(&serve, "profiles/demo").await, ServingStatus::NotServing);
    for service in &EVERY[..3] {
        assert_eq!(check(&serve, service).await, ServingStatus::Serving, "{service:?}");
    }
    let (status, body) = serve.page("/readyz").await;
    assert!(status == 200 && body.contains("expired"), "{status} {body}");
    assert!(body.contains("HTTP_STATUS_401"), "no reason: {body}");
    let still = tokio::time::timeout(Duration::from_millis(1), whole.message()).await;
    assert!(still.is_err(), "a health update without a change: {still:?}");
}

#[tokio::test]
async fn sigterm_ends_readiness_while_calls_are_served() {
    let top = "[server]\ndrain_delay = \"10m\"";
    let config = Configured::with_secret(top, "", DEMO_API_KEY_SECRET);
    let serve = Serve::configured(&config, &[]).await;
    serve.first_token().await;
    let mut whole = watch(&serve, "").await;
    until("ready", async || next(&mut whole).await == ServingStatus::Serving).await;
    serve.signal("TERM");
    assert_eq!(next(&mut whole).await, ServingStatus::NotServing);
    let (status, body) = serve.page("/readyz").await;
    assert!(status == 503 && body.starts_with("not ready\n"), "{status} {body}");
    assert_eq!(serve.page("/livez").await.0, 200, "a draining server must stay live");
    assert_eq!(serve.page("/metrics").await.0, 200);
    // The profile's own health follows its grants and is still serving.
    assert_eq!(check(&serve, "profiles/demo").await, ServingStatus::Serving);
    soon(serve.tokens().await.mint_token(mint("late", None))).await.expect("a token");
    let bulk = soon(serve.tokens().await.mint_tokens(series(0, 10))).await.expect("a bulk");
    let (tokens, _, ended) = read(bulk.into_inner(), 0).await;
    assert!(tokens.len() == 10 && ended.is_none(), "{ended:?}");
}

#[tokio::test]
async fn unknown_admin_page_lists_the_existing_ones() {
    let serve = Serve::sandboxed(&[]).await;
    let (status, body) = serve.page("/unknown").await;
    let pages = "/, /events, /status.json, /livez, /readyz or /metrics\n";
    assert_eq!((status, body.as_str()), (404, pages));
    let (status, _) = request("POST", &format!("{}/livez", serve.admin), "").await;
    assert_eq!(status, 405);
}
