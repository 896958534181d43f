//! `GrantService`: refusals and responses.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use grantmint::rpc::proto::{
    GetGrantRequest, Grant, ListGrantsRequest, MintOptions, WatchGrantsRequest,
    WatchGrantsResponse,
    grant::{RefreshState, State, fault::Class},
    watch_grants_request::Target,
};
use prost::Message;
use tonic::{
    Code::{self, InvalidArgument, NotFound},
    Status, Streaming,
};

use super::harness::{
    MARKER, TestServer, VJ, assert_refused, framed, post, profile, reported_error,
};
use crate::support::{soon, until};

fn name(profile: &str, resource: &str) -> String {
    format!("profiles/{profile}/grants/{resource}")
}

async fn get(server: &TestServer, name: &str) -> Result<Grant, Status> {
    let answer = soon(server.grants().get_grant(GetGrantRequest { name: name.to_owned() })).await?;
    Ok(answer.into_inner().grant.unwrap())
}

async fn watch(
    server: &TestServer,
    target: Option<Target>,
) -> Result<Streaming<WatchGrantsResponse>, Status> {
    let answer = soon(server.grants().watch_grants(WatchGrantsRequest { target })).await?;
    Ok(answer.into_inner())
}

async fn list(
    server: &TestServer,
    profile: &str,
    page_size: i32,
    page_token: &str,
) -> Result<(Vec<Grant>, String), Status> {
    let (profile, page_token) = (profile.to_owned(), page_token.to_owned());
    let request = ListGrantsRequest { profile, page_size, page_token };
    let page = soon(server.grants().list_grants(request)).await?.into_inner();
    Ok((page.grants, page.next_page_token))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_names_are_refused_by_get_and_watch() {
    let server = TestServer::simple().await;
    let ill = [
        String::new(),
        MARKER.to_owned(),
        format!("profiles/{MARKER}"),
        format!("profiles/{MARKER}/grants/"),
        format!("profiles/{MARKER}/grants/\u{7}"),
        format!("profiles//grants/{MARKER}"),
        format!("profiles/UP{MARKER}/grants/x"),
        format!("profiles/{}/grants/{MARKER}", "a".repeat(64)),
        format!("profiles/live/grants/{MARKER}{}", "x".repeat(257)),
        format!("/profiles/live/grants/{MARKER}"),
        format!("profiles/live/grant/{MARKER}"),
        "x".repeat(60_000),
    ];
    let unknown_profile = [name(MARKER, VJ[0]), name("a", MARKER)];
    let unknown_resource = [
        name("live", VJ[1]),
        name("live", MARKER),
        name("live", &VJ[0].to_uppercase()),
        format!("{}/", name("live", VJ[0])),
    ];
    let ill = ill.map(|name| (name, InvalidArgument, "GRANT_NAME_INVALID", &["name"][..]));
    let profile = unknown_profile.map(|name| (name, NotFound, "PROFILE_NOT_FOUND", &[][..]));
    let resource = unknown_resource.map(|name| (name, NotFound, "RESOURCE_NOT_FOUND", &[][..]));
    for (name, code, reason, fields) in ill.into_iter().chain(profile).chain(resource) {
        let refused = get(&server, &name).await.unwrap_err();
        assert_refused(&name, &refused, code, reason, fields);
        let refused = watch(&server, Some(Target::Name(name.clone()))).await.unwrap_err();
        assert_refused(&name, &refused, code, reason, fields);
    }
    for profile in [MARKER, "LIVE", "live ", "\0"] {
        let refused = watch(&server, Some(Target::Profile(profile.to_owned()))).await.unwrap_err();
        assert_refused(profile, &refused, NotFound, "PROFILE_NOT_FOUND", &[]);
        let refused = list(&server, profile, 0, "").await.unwrap_err();
        assert_refused(profile, &refused, NotFound, "PROFILE_NOT_FOUND", &[]);
    }
    server.serves(MintOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_sorted_and_foreign_page_tokens_refused() {
    let tables = profile("live", &VJ[..2], "") + &profile("other", &VJ[1..], "");
    let server = TestServer::of(&tables).await;
    let names: Vec<_> = [("live", 0), ("live", 1), ("other", 1), ("other", 2)]
        .map(|(profile, at)| name(profile, VJ[at]))
        .to_vec();
    for size in 1..=5 {
        let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let (grants, next) = list(&server, "", size, &token).await.unwrap();
            assert!(grants.len() <= usize::try_from(size).unwrap() && !grants.is_empty());
            seen.extend(grants.into_iter().map(|grant| grant.name));
            pages += 1;
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, names, "pages of {size}");
        assert_eq!(pages, (4 + size - 1) / size);
    }
    for size in [0, 1_000, 1_001, i32::MAX] {
        let (grants, next) = list(&server, "other", size, "").await.unwrap();
        let seen: Vec<_> = grants.into_iter().map(|grant| grant.name).collect();
        assert_eq!((seen.as_slice(), next.as_str()), (&names[2..], ""));
    }

    let encoded = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let (_, of_live) = list(&server, "live", 1, "").await.unwrap();
    let foreign = [
        ("", MARKER.to_owned()),
        ("", "=".to_owned()),
        ("", encoded(MARKER)),
        ("", encoded("profiles/live/grants/")),
        ("", BASE64_URL_SAFE_NO_PAD.encode([0xff, 0xfe])),
        ("", "A".repeat(50_000)),
        ("other", of_live),
    ];
    for (profile, token) in foreign {
        let refused = list(&server, profile, 1, &token).await.unwrap_err();
        let reason = "PAGE_TOKEN_INVALID";
        assert_refused(&token, &refused, InvalidArgument, reason, &["page_token"]);
    }
    for size in [-1, i32::MIN] {
        let refused = list(&server, "", size, "").await.unwrap_err();
        assert_refused("size", &refused, InvalidArgument, "OPTION_INVALID", &["page_size"]);
    }
    let refused = list(&server, "", -1, MARKER).await.unwrap_err();
    let both = &["page_size", "page_token"];
    assert_refused("both", &refused, InvalidArgument, "OPTION_INVALID", both);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grant_status_has_times_and_never_content() {
    let server = TestServer::simple().await;
    let grant = get(&server, &name("live", VJ[0])).await.unwrap();
    assert_eq!((grant.state(), grant.refresh_state()), (State::Live, RefreshState::Ok));
    let fetched = grant.fetch_time.unwrap();
    let ends = grant.end_time.unwrap();
    let micros = |at: prost_types::Timestamp| at.seconds * 1_000_000 + i64::from(at.nanos) / 1_000;
    assert!((micros(fetched) - grant.generation).abs() < 10_000);
    assert!((micros(ends) - micros(fetched) - 60_000_000).abs() < 10_000);
    let next = micros(grant.next_attempt_time.unwrap()) - micros(fetched);
    assert!((13_000_000..51_000_000).contains(&next), "the first cycle must be 0.3 to 1.0 of 50 s");
    assert_eq!((grant.last_fault.clone(), grant.consecutive_failures), (None, 0));

    let all = format!("{grant:?} {:?}", list(&server, "", 0, "").await.unwrap());
    let url = server.sandbox.requests()[0].credential.clone().unwrap();
    let (address, token) = url.split_once("?token=").unwrap();
    assert!(!all.contains(token) && !all.contains(address));
}

/// Waits for a change of one grant that matches.
async fn change(
    stream: &mut Streaming<WatchGrantsResponse>,
    last: &mut Grant,
    expected: impl Fn(&Grant) -> bool,
) {
    while !expected(last) {
        let reported = soon(stream.message()).await.unwrap().expect("an open stream");
        assert!(
            !reported.snapshot && !reported.snapshot_complete && reported.grants.len() == 1,
            "{reported:?}"
        );
        let grant = reported.grants.into_iter().next().unwrap();
        assert_eq!(grant.name, last.name);
        *last = grant;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_sends_a_snapshot_and_then_each_change() {
    let tables = profile("live", &VJ[..1], "") + &profile("other", &VJ[1..2], "");
    let server = TestServer::of(&tables).await;
    let (mine, others) = (name("live", VJ[0]), name("other", VJ[1]));
    let mut all = watch(&server, None).await.unwrap();
    let snapshot = soon(all.message()).await.unwrap().unwrap();
    assert!(snapshot.snapshot && snapshot.snapshot_complete);
    let names: Vec<_> = snapshot.grants.iter().map(|grant| grant.name.as_str()).collect();
    assert_eq!(names, [mine.as_str(), others.as_str()]);

    let mut by_profile = watch(&server, Some(Target::Profile("live".into()))).await.unwrap();
    let mut by_name = watch(&server, Some(Target::Name(mine.clone()))).await.unwrap();
    let mut last = Vec::new();
    for stream in [&mut by_profile, &mut by_name] {
        let snapshot = soon(stream.message()).await.unwrap().unwrap();
        assert!(snapshot.snapshot && snapshot.grants.len() == 1);
        last.extend(snapshot.grants);
    }

    // A request for a newer grant pulls the next attempt forward, into the fault.
    let fault = format!("status=503,body-text={MARKER},resource={}", VJ[0]);
    server.sandbox.set_fault(fault.parse().unwrap());
    let newer = MintOptions {
        profile: "live".into(),
        after_generation: last[0].generation,
        max_wait: Some(prost_types::Duration::default()),
        ..MintOptions::default()
    };
    let refused = server.mint("alice", newer).await.unwrap_err();
    assert_eq!(reported_error(&refused).reason, "GRANT_NOT_NEWER");

    let first = last[0].generation;
    for (stream, last) in [&mut by_profile, &mut by_name].into_iter().zip(&mut last) {
        change(stream, last, |grant| grant.last_fault.is_some()).await;
        let fault = last.last_fault.clone().unwrap();
        assert_eq!((fault.class(), fault.reason.as_str()), (Class::Transient, "HTTP_STATUS_503"));
        assert_eq!((last.state(), last.refresh_state()), (State::Live, RefreshState::Retrying));
        assert_eq!((last.generation, last.consecutive_failures > 0), (first, true));
    }
    server.sandbox.clear_faults();
    for (stream, last) in [&mut by_profile, &mut by_name].into_iter().zip(&mut last) {
        change(stream, last, |grant| grant.generation > first).await;
        assert_eq!((last.last_fault.clone(), last.consecutive_failures), (None, 0));
        assert_eq!(last.refresh_state(), RefreshState::Ok);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_grant_has_a_reason() {
    let server = TestServer::with_faults(
        &profile("live", &VJ, ""),
        &[
            &format!("status=404,body-text={MARKER},resource={}", VJ[0]),
            &format!("status=429,retry-after=7,resource={}", VJ[1]),
        ],
    )
    .await;
    let faulty =
        async |at: usize| get(&server, &name("live", VJ[at])).await.unwrap().last_fault.is_some();
    until("faults are reported", async || faulty(0).await && faulty(1).await).await;
    let grant = get(&server, &name("live", VJ[0])).await.unwrap();
    assert_eq!((grant.state(), grant.refresh_state()), (State::Pending, RefreshState::Rejected));
    assert_eq!((grant.generation, grant.fetch_time, grant.end_time), (0, None, None));
    let fault = grant.last_fault.unwrap();
    assert_eq!((fault.class(), fault.reason.as_str()), (Class::Resource, "HTTP_STATUS_404"));
    let grant = get(&server, &name("live", VJ[1])).await.unwrap();
    assert_eq!(grant.refresh_state(), RefreshState::Throttled);

    for (at, code, reason) in
        [(0, NotFound, "RESOURCE_NOT_FOUND"), (1, Code::Unavailable, "UPSTREAM_THROTTLED")]
    {
        let options = MintOptions { resource: VJ[at].to_owned(), ..MintOptions::default() };
        let reported = reported_error(&server.mint(MARKER, options).await.unwrap_err());
        assert_eq!((reported.code, reported.reason.as_str()), (code, reason));
        assert_eq!(reported.metadata["grant"], name("live", VJ[at]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watch_ends_at_its_deadline_with_a_reason() {
    let server = TestServer::simple().await;
    let all = framed(&WatchGrantsRequest { target: None }.encode_to_vec());
    let path = "/grantmint.v1.GrantService/WatchGrants";
    let ended = post(&server.raw, path, &[("grpc-timeout", "300m")], all).await;
    let (code, reason) = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert_refused("deadline", ended.status(), code, reason, &[]);
}
