//! Each metric compared with what callers, the sandbox or the API report.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use grantmint::{
    clock::Clock,
    rpc::proto::{ListGrantsRequest, MintOptions, Validity},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tonic::Code;

use crate::{
    page::Page,
    support::{Configured, Serve, found, mint, reason, series, soon, until},
};

pub(crate) async fn page(serve: &Serve) -> Page {
    Page::read(&serve.page("/metrics").await.1)
}

/// The metrics page and a counter of the sandbox, read while no request happened in between.
async fn page_and_count(serve: &Serve, counter: &str) -> (Page, f64) {
    found("a quiet moment", async || {
        let count = async || serve.counters().await[counter].as_f64().expect("a count");
        let before = count().await;
        let page = page(serve).await;
        let requests = page.figure("grantmint_upstream_requests_total", &[("profile", "demo")]);
        let done = page.figure("grantmint_upstream_request_duration_seconds_count", &[]);
        (requests.to_bits() == done.to_bits() && before.to_bits() == count().await.to_bits())
            .then_some((page, before))
    })
    .await
}

fn wait(seconds: i64) -> MintOptions {
    MintOptions { max_wait: Some(prost_types::Duration { seconds, nanos: 0 }), ..<_>::default() }
}

fn use_within(validity: Option<Validity>) -> Duration {
    let within = validity.expect("a validity").use_within.expect("a duration");
    within.try_into().expect("not negative")
}

#[track_caller]
fn assert_figure(page: &Page, name: &str, labels: &[(&str, &str)], expected: f64) {
    let figure = page.figure(name, labels);
    assert!((figure - expected).abs() < 1e-3, "{name} {labels:?} is {figure}, not {expected}");
}

/// These validities are in the method's histogram.
fn assert_validities(page: &Page, method: &str, validities: &[Duration]) {
    let of_method = ("method", method);
    let number = |n: usize| f64::from(u32::try_from(n).expect("in range"));
    let name = "grantmint_token_validity_seconds";
    assert_figure(page, &format!("{name}_count"), &[of_method], number(validities.len()));
    let millis: u128 = validities.iter().map(Duration::as_millis).sum();
    let sum = number(usize::try_from(millis).expect("in range")) / 1_000.0;
    assert_figure(page, &format!("{name}_sum"), &[of_method], sum);
    let buckets = page.of(&format!("{name}_bucket"), &[of_method]);
    assert_eq!(buckets.len(), 16);
    for bucket in buckets {
        let le: f64 = bucket.labels["le"].parse().expect("a bound");
        let within = validities.iter().filter(|it| it.as_secs_f64() <= le).count();
        assert!((bucket.value - number(within)).abs() < 0.5, "{bucket:?} {within}");
    }
}

#[tokio::test]
async fn token_and_call_metrics_match_what_callers_received() {
    let serve = Serve::sandboxed(&[]).await;
    let mut one = vec![use_within(serve.first_token().await.validity)];
    let early = page(&serve).await;
    let unserved = [("method", "MintToken"), ("outcome", "unserved")];
    let unserved_early = early.figure("grantmint_tokens_total", &unserved);
    let mut client = serve.tokens().await;
    for seconds in [None, Some(3), Some(4), Some(7), Some(40)] {
        let ttl = seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
        let options = MintOptions { ttl, ..<_>::default() };
        let answer = soon(client.mint_token(mint("alice", Some(options)))).await.expect("a token");
        one.push(use_within(answer.into_inner().validity));
    }
    // A ttl of 4 s is 2 s and the margin: such a token is in the bucket up to 2 s.
    assert_eq!(one[1 + 2], Duration::from_secs(2));
    let refused = soon(client.mint_token(mint("", None))).await;
    assert_eq!(refused.expect_err("no identity").code(), Code::InvalidArgument);

    let mut many = Vec::new();
    let mut chunks = soon(client.mint_tokens(series(0, 1_000))).await.expect("a bulk").into_inner();
    while let Some(chunk) = soon(chunks.message()).await.expect("no error") {
        many.extend(vec![use_within(chunk.validity); chunk.tokens.len()]);
    }
    assert_eq!(many.len(), 1_000);
    let refused = soon(client.mint_tokens(series(7, 3))).await;
    assert_eq!(refused.expect_err("outside").code(), Code::InvalidArgument);

    let (page, requests) = page_and_count(&serve, "requests").await;
    let tokens = "grantmint_tokens_total";
    for (method, outcome, count) in [
        ("MintToken", "minted", 6.0),
        ("MintToken", "refused", 1.0),
        ("MintToken", "unserved", unserved_early),
        ("MintTokens", "minted", 1_000.0),
        ("MintTokens", "refused", 1.0),
        ("MintTokens", "unserved", 0.0),
    ] {
        assert_figure(&page, tokens, &[("method", method), ("outcome", outcome)], count);
    }
    assert_validities(&page, "MintToken", &one);
    assert_validities(&page, "MintTokens", &many);
    assert_figure(&page, "grantmint_tokens_per_upstream_request", &[], 1_006.0 / requests);
    for (method, code, count) in [
        ("MintToken", "OK", 6.0),
        ("MintTokens", "OK", 1.0),
        ("MintTokens", "InvalidArgument", 1.0),
    ] {
        let labels = [("grpc_method", method), ("grpc_code", code)];
        assert_figure(&page, "grpc_server_handled_total", &labels, count);
    }
}

#[tokio::test]
async fn every_finished_call_has_a_duration() {
    let serve = Serve::sandboxed(&["--fault", "hang"]).await;
    let began = tokio::time::Instant::now();
    let mut client = serve.tokens().await;
    let answer = soon(client.mint_token(mint("patient", Some(wait(2))))).await;
    assert_eq!(reason(&answer.expect_err("no grant")), "GRANT_PENDING");
    let took = began.elapsed().as_secs_f64();
    let method = [("grpc_method", "MintToken")];
    let page = found("the call's end", async || {
        let page = page(&serve).await;
        (page.sum("grpc_server_handled_total", &method) > 0.5).then_some(page)
    })
    .await;
    assert_figure(&page, "grpc_server_started_total", &method, 1.0);
    assert_figure(&page, "grpc_server_handling_seconds_count", &method, 1.0);
    let unserved = [("method", "MintToken"), ("outcome", "unserved")];
    assert_figure(&page, "grantmint_tokens_total", &unserved, 1.0);
    let sum = page.figure("grpc_server_handling_seconds_sum", &method);
    assert!(sum > 0.0 && sum < took, "{sum} of {took}");
    let buckets = page.of("grpc_server_handling_seconds_bucket", &method);
    for bucket in buckets {
        let le: f64 = bucket.labels["le"].parse().expect("a bound");
        assert!((bucket.value > 0.5) == (sum <= le), "{bucket:?}, {sum}");
    }
}

#[tokio::test]
async fn waiting_gauge_counts_only_waiting_calls() {
    let serve = Serve::sandboxed(&["--fault", "hang"]).await;
    let early = page(&serve).await;
    assert_figure(&early, "grantmint_waiting_calls", &[], 0.0);
    assert!(
        early.of("grantmint_upstream_clock_skew_seconds", &[]).is_empty(),
        "the skew is not known yet"
    );
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let mut client = serve.tokens().await;
        calls.spawn(async move { client.mint_token(mint("patient", Some(wait(10)))).await });
    }
    let mut client = serve.tokens().await;
    calls.spawn(async move {
        let mut request = series(0, 1);
        request.options = Some(wait(10));
        let mut chunks = client.mint_tokens(request).await?.into_inner();
        let chunk = chunks.message().await?.expect("a chunk");
        Ok(tonic::Response::new(grantmint::rpc::proto::MintTokenResponse {
            token: chunk.tokens[0].clone(),
            ..<_>::default()
        }))
    });
    let waiting = async || page(&serve).await.figure("grantmint_waiting_calls", &[]);
    until("four calls wait", async || waiting().await > 3.5).await;
    assert!(waiting().await < 4.5);
    serve.clear_faults().await;
    for answer in soon(calls.join_all()).await {
        assert!(!answer.expect("a token").into_inner().token.is_empty());
    }
    until("none waits", async || waiting().await < 0.5).await;
}

#[tokio::test]
async fn open_connections_are_counted() {
    let serve = Serve::sandboxed(&[]).await;
    let open = async |count: f64| {
        until("the expected connections", async || {
            let page = page(&serve).await;
            let open = page.figure("grantmint_open_connections", &[]);
            (open - count).abs() < 0.5
        })
        .await;
    };
    open(0.0).await;
    let (first, second) = (serve.channel().await, serve.channel().await);
    open(2.0).await;
    drop(first);
    open(1.0).await;
    drop(second);
    open(0.0).await;
}

#[tokio::test]
async fn refresh_metrics_match_the_sandbox() {
    for (fault, result, counter) in [
        (None, "ok", "granted"),
        (Some("status=503"), "transient", "faults"),
        (Some("status=429,retry-after=30"), "throttled", "faults"),
        (Some("status=401"), "credential", "faults"),
        (Some("status=404"), "resource", "faults"),
        (Some("status=302"), "misconfigured", "faults"),
    ] {
        let arguments = fault.map(|fault| vec!["--fault", fault]).unwrap_or_default();
        let serve = Serve::sandboxed(&arguments).await;
        until("an attempt", async || {
            let attempts = page(&serve).await.sum("grantmint_refreshes_total", &[]);
            attempts > 0.5
        })
        .await;
        let (page, count) = page_and_count(&serve, counter).await;
        assert!(count > 0.5, "{fault:?}");
        assert_figure(&page, "grantmint_upstream_requests_total", &[], count);
        let results = page.of("grantmint_refreshes_total", &[]);
        let results: BTreeMap<&str, f64> =
            results.iter().map(|it| (it.labels["result"].as_str(), it.value)).collect();
        assert_eq!(results.len(), 8);
        for (name, value) in results {
            let expected = if name == result { count } else { 0.0 };
            assert!((value - expected).abs() < 0.5, "{fault:?}: {value} are {name}");
        }
        let took = page.figure("grantmint_upstream_request_duration_seconds_sum", &[]);
        assert!(took > 0.0 && took < 60.0, "{took}");
    }
}

#[tokio::test]
async fn hanging_upstream_request_takes_two_seconds() {
    let serve = Serve::sandboxed(&["--fault", "hang,times=1"]).await;
    serve.first_token().await;
    let (page, _) = page_and_count(&serve, "requests").await;
    let bucket =
        |le: &str| page.figure("grantmint_upstream_request_duration_seconds_bucket", &[("le", le)]);
    assert!((bucket("+Inf") - bucket("1.5") - 1.0).abs() < 0.5, "{page:?}");
}

#[tokio::test]
async fn grant_time_metrics_match_the_api() {
    let before = Clock::system().now().wall;
    let serve = Serve::sandboxed(&["--fault", "status=503"]).await;
    let unknown = page(&serve).await;
    assert!(unknown.of("grantmint_grant_end_timestamp_seconds", &[]).is_empty(), "not 1970");
    let started = unknown.figure("process_start_time_seconds", &[]);
    let since = |at: f64| at - f64::from(u32::try_from(before.unix_seconds()).expect("in range"));
    assert!(since(started) >= 0.0 && since(started) < 60.0, "{started}");
    let version = ("version", env!("CARGO_PKG_VERSION"));
    assert_figure(&unknown, "grantmint_build_info", &[version], 1.0);

    serve.clear_faults().await;
    serve.first_token().await;
    let mut grants = serve.grants().await;
    until("the metrics match the API", async || {
        let list = soon(grants.list_grants(ListGrantsRequest::default())).await.expect("a list");
        let grant = list.into_inner().grants.remove(0);
        let page = page(&serve).await;
        let reported = [
            ("fetch", grant.fetch_time),
            ("end", grant.end_time),
            ("next_attempt", grant.next_attempt_time),
        ];
        reported.into_iter().all(|(what, api)| {
            let api = api.expect("known");
            let figure = page.figure(&format!("grantmint_grant_{what}_timestamp_seconds"), &[]);
            let seconds = f64::from(u32::try_from(api.seconds).expect("in range"));
            (figure - seconds - f64::from(api.nanos) / 1e9).abs() < 0.01
        })
    })
    .await;
}

/// An unavailable upstream whose clock is ahead by `ahead` seconds.
pub(crate) async fn upstream_with_clock_skew(listener: TcpListener, ahead: Arc<AtomicU64>) {
    loop {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut request = Vec::new();
        while !request.ends_with(b"Ttl=60") {
            assert!(stream.read_buf(&mut request).await.expect("a request") > 0);
        }
        let now = u64::try_from(Clock::system().now().wall.unix_seconds()).expect("after 1970");
        let date = Duration::from_secs(now + ahead.load(Ordering::SeqCst));
        let date = httpdate::fmt_http_date(std::time::UNIX_EPOCH + date);
        let answer = format!(
            "HTTP/1.1 500 Down\r\ndate: {date}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.expect("sent");
    }
}

#[tokio::test]
async fn upstream_clock_skew_is_logged_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let upstream = format!("upstream = \"http://{}\"", listener.local_addr().expect("bound"));
    let ahead = Arc::new(AtomicU64::new(0));
    let upstreams = tokio::spawn(upstream_with_clock_skew(listener, Arc::clone(&ahead)));
    let config = Configured::profile(&upstream);
    let serve = Serve::start(&["--config", config.path()]).await;
    let mut client = serve.tokens().await;
    for seconds in [0_u32, 3_600, 0] {
        ahead.store(u64::from(seconds), Ordering::SeqCst);
        until("the skew", async || {
            // A caller's request pulls the next attempt forward.
            let requested = soon(client.mint_token(mint("early", Some(wait(0))))).await;
            assert!(requested.is_err());
            let page = page(&serve).await;
            let skews = page.of("grantmint_upstream_clock_skew_seconds", &[("profile", "demo")]);
            skews.first().is_some_and(|it| (it.value - f64::from(seconds)).abs() < 2.6)
        })
        .await;
    }
    serve.signal("INT");
    let (_, log) = serve.ended().await;
    for line in ["clock skew to the upstream exceeds 5 s", "is within 5 s again"] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
    upstreams.abort();
}
