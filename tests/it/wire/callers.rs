//! Callers and their entries: what is refused with which reason, and what they see.

use std::time::Duration;

use grantmint::rpc::proto::{
    GetGrantRequest, IdentityList, IdentitySeries, ListGrantsRequest, MintOptions,
    MintTokensRequest, WatchGrantsRequest, mint_tokens_request::Selection,
    watch_grants_request::Target,
};
use prost_types::{Struct, Value, value::Kind};
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
};
use tonic_types::StatusExt;

use super::harness::{ReportedError, TestServer, VJ, profile, reported_error};
use crate::support::{get, soon};

/// A profile that signs with a key alone.
const ROOM: &str = r#"
[profiles.room]
kind = "livekit"
api_key = "APIabc"
api_secret_env = "SECRET"
allow_resources = ["*"]
token_ttl = "10m"
caller_params = ["name", "metadata"]
"#;

/// A row for methods that every test needs.
const SEEN: &str = r#"{ methods = ["ListGrants", "WatchGrants"], profiles = ["live"] }"#;

async fn server(keys: &str, rows: &str) -> TestServer {
    let live = profile("live", &VJ[..2], "");
    TestServer::of(&format!(
        "{live}{ROOM}\n[callers.tester]\nmatch = [\"loopback\"]\n{keys}\nallow = [{rows}, {SEEN}]\n"
    ))
    .await
}

fn of(profile: &str, resource: &str) -> MintOptions {
    MintOptions { profile: profile.to_owned(), resource: resource.to_owned(), ..<_>::default() }
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn param(name: &str) -> Struct {
    let value = Value { kind: Some(Kind::StringValue("x".to_owned())) };
    Struct { fields: [(name.to_owned(), value)].into() }
}

fn series(options: MintOptions, prefix: &str, start_index: i64, count: i64) -> MintTokensRequest {
    let series = IdentitySeries { prefix: prefix.to_owned(), count };
    let selection = Some(Selection::IdentitySeries(series));
    MintTokensRequest { options: Some(options), selection, start_index, chunk_size: 0 }
}

async fn bulk(
    server: &TestServer,
    request: MintTokensRequest,
) -> Result<Vec<usize>, (usize, Status)> {
    let mut chunks = Vec::new();
    let mut count = 0;
    let mut stream = match soon(server.tokens().mint_tokens(request)).await {
        Ok(stream) => stream.into_inner(),
        Err(status) => return Err((0, status)),
    };
    loop {
        match soon(stream.message()).await {
            Ok(Some(chunk)) => {
                count += chunk.tokens.len();
                chunks.push(chunk.tokens.len());
            }
            Ok(None) => return Ok(chunks),
            Err(status) => return Err((count, status)),
        }
    }
}

#[track_caller]
fn denied(status: &Status, reason: &str) -> ReportedError {
    let reported = reported_error(status);
    assert_eq!((reported.code, reported.reason.as_str()), (Code::PermissionDenied, reason));
    reported
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_is_refused_for_the_first_unallowed_value() {
    let server = server(
        "",
        r#"
        { profiles = ["room"], resources = ["room-*"], identities = ["viewer-*"], params = ["name"], max_ttl = "5m" },
        { methods = ["MintToken"], profiles = ["live"], identities = ["bob"],
          resources = ["VJ0123456789ABCDEF0123456789ABCDE1", "VJ0123456789abcdef0123456789abcde3"] },
        { profiles = ["room"], resources = ["room-*"], identities = ["carol"], params = [], max_ttl = "8m" }
        "#,
    )
    .await;
    let room = || of("room", "room-1");
    let mint = async |identity: &str, options: MintOptions| server.mint(identity, options).await;
    for (identity, options, reason) in [
        ("viewer-1", of("room", "cellar"), "RESOURCE_NOT_ALLOWED"),
        ("viewer-1", of("nowhere", "room-1"), "PROFILE_NOT_ALLOWED"),
        ("carol", of("speech", "x"), "PROFILE_NOT_ALLOWED"),
        // Two rows that each allow half of the call.
        ("bob", room(), "IDENTITY_NOT_ALLOWED"),
        ("viewer-1", of("live", VJ[0]), "IDENTITY_NOT_ALLOWED"),
        ("carol", MintOptions { params: Some(param("name")), ..room() }, "PARAM_NOT_ALLOWED"),
        ("viewer-1", MintOptions { ttl: Some(seconds(301)), ..room() }, "TTL_NOT_ALLOWED"),
    ] {
        let status = mint(identity, options).await.unwrap_err();
        let reported = denied(&status, reason);
        if reason == "TTL_NOT_ALLOWED" {
            assert_eq!(reported.metadata["attainable_max"], "300s");
        }
    }
    // A resource that no row allows looks like one that does not exist, whatever else is wrong.
    let absent = mint("viewer-1", of("nowhere", "room-1")).await.unwrap_err();
    for other in [of("secret", "room-1"), MintOptions { ttl: Some(seconds(-1)), ..of("x y", "") }] {
        let status = mint("", other).await.unwrap_err();
        assert_eq!((status.message(), status.details()), (absent.message(), absent.details()));
    }
    // Allowed calls are validated as usual.
    let bad = mint("viewer-1", MintOptions { ttl: Some(seconds(-1)), ..room() }).await.unwrap_err();
    assert_eq!(reported_error(&bad).reason, "TTL_OUT_OF_RANGE");
    let absent = mint("bob", of("live", VJ[2])).await.unwrap_err();
    assert_eq!(reported_error(&absent).reason, "RESOURCE_NOT_FOUND");

    let within = |answer: grantmint::rpc::proto::MintTokenResponse| {
        answer.validity.unwrap().use_within.unwrap().seconds
    };
    let plain = within(mint("viewer-1", room()).await.unwrap());
    assert!((290..300).contains(&plain), "expected the row's limit for an unset ttl: {plain}");
    let named = MintOptions { params: Some(param("name")), ttl: Some(seconds(300)), ..room() };
    assert!(mint("viewer-2", named).await.is_ok());
    let longer = within(mint("carol", room()).await.unwrap());
    assert!((470..480).contains(&longer), "expected the other row's limit: {longer}");
    for written in [VJ[0].to_owned(), VJ[0].to_uppercase()] {
        assert!(mint("bob", of("live", &written)).await.is_ok(), "{written} is the same resource");
    }

    let list = |identities: &[&str]| MintTokensRequest {
        selection: Some(Selection::IdentityList(IdentityList {
            identities: identities.iter().map(|&it| it.to_owned()).collect(),
        })),
        ..series(room(), "", 0, 0)
    };
    let (_, status) = bulk(&server, list(&["viewer-1", "carol", "viewer-2"])).await.unwrap_err();
    assert_eq!(denied(&status, "IDENTITY_NOT_ALLOWED").metadata["index"], "1");
    assert_eq!(bulk(&server, list(&["viewer-1", "viewer-2"])).await.unwrap(), [2]);
    for (prefix, fine) in
        [("viewer-", true), ("viewer-a", true), ("viewer", false), ("carol", false)]
    {
        let answer = bulk(&server, series(room(), prefix, 0, 1)).await;
        assert_eq!(answer.is_ok(), fine, "{prefix}: {answer:?}");
    }
    let (_, status) = bulk(&server, series(of("live", VJ[0]), "bob", 0, 1)).await.unwrap_err();
    denied(&status, "PROFILE_NOT_ALLOWED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_watches_follow_rows_and_health_is_open() {
    let live = profile("live", &VJ[..2], "") + &profile("other", &VJ[2..], "");
    let server = TestServer::of(&format!(
        "{live}[callers.tester]\nmatch = [\"loopback\"]\n\
         allow = [{{ methods = [\"ListGrants\"], profiles = [\"live\"], resources = [{:?}] }},\n\
         {{ methods = [\"GetGrant\", \"WatchGrants\"], profiles = [\"other\"] }}]\n",
        VJ[1]
    ))
    .await;
    let list = async |profile: &str| {
        let request = ListGrantsRequest { profile: profile.to_owned(), ..<_>::default() };
        let listed = soon(server.grants().list_grants(request)).await?.into_inner();
        Ok::<_, Status>(listed.grants.into_iter().map(|it| it.name).collect::<Vec<_>>())
    };
    let name = |profile: &str, resource: &str| format!("profiles/{profile}/grants/{resource}");
    assert_eq!(list("").await.unwrap(), [name("live", VJ[1])]);
    assert_eq!(list("live").await.unwrap(), [name("live", VJ[1])]);
    for hidden in ["other", "nowhere"] {
        denied(&list(hidden).await.unwrap_err(), "PROFILE_NOT_ALLOWED");
    }
    let watch = async |target| {
        let request = WatchGrantsRequest { target };
        let mut stream = soon(server.grants().watch_grants(request)).await?.into_inner();
        let first = soon(stream.message()).await?.unwrap();
        Ok::<_, Status>(first.grants.into_iter().map(|it| it.name).collect::<Vec<_>>())
    };
    assert_eq!(watch(None).await.unwrap(), [name("other", VJ[2])]);
    for target in [Target::Profile("live".into()), Target::Name(name("live", VJ[1]))] {
        denied(&watch(Some(target)).await.unwrap_err(), "PROFILE_NOT_ALLOWED");
    }
    let get = async |name: String| soon(server.grants().get_grant(GetGrantRequest { name })).await;
    assert!(get(name("other", VJ[2])).await.is_ok());
    assert_eq!(
        reported_error(&get(name("other", VJ[0])).await.unwrap_err()).reason,
        "RESOURCE_NOT_FOUND"
    );
    denied(&get(name("live", VJ[1])).await.unwrap_err(), "PROFILE_NOT_ALLOWED");
    denied(&server.mint("alice", of("live", VJ[1])).await.unwrap_err(), "METHOD_NOT_ALLOWED");

    let health = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        soon(HealthClient::new(server.channel.clone()).check(request)).await.is_ok()
    };
    assert!(health("").await && health("profiles/other").await);
    assert!(!health("profiles/live").await, "a denied service is visible");
    let mut reflection = ServerReflectionClient::new(server.channel.clone());
    let requested = futures_util::stream::iter([ServerReflectionRequest::default()]);
    let status = soon(reflection.server_reflection_info(requested)).await.err().unwrap();
    denied(&status, "METHOD_NOT_ALLOWED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caller_in_no_entry_may_only_check_health() {
    let live = profile("live", &VJ[..1], "");
    let tables = format!(
        "{live}[callers.mesh]\nmatch = [\"plaintext\"]\nallow = [{{ profiles = [\"*\"] }}]\n"
    );
    let server = TestServer::with_faults(&tables, &[]).await;
    denied(&server.mint("alice", None).await.unwrap_err(), "CALLER_UNKNOWN");
    let listed = soon(server.grants().list_grants(ListGrantsRequest::default())).await;
    denied(&listed.unwrap_err(), "CALLER_UNKNOWN");
    let request = HealthCheckRequest::default();
    assert!(soon(HealthClient::new(server.channel.clone()).check(request)).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quota_charges_signed_tokens_and_reports_retry_time() {
    let server = server(
        "tokens = { rate = 1, burst = 3 }\nbulk_tokens = { rate = 1, burst = 40 }",
        r#"{ profiles = ["room"], identities = ["a*"] }"#,
    )
    .await;
    let now = |resource: &str| MintOptions { max_wait: Some(seconds(0)), ..of("room", resource) };
    // Refused calls are not charged.
    for _ in 0..10 {
        assert!(server.mint("bob", now("r")).await.is_err());
        assert!(server.mint("", now("r")).await.is_err());
    }
    for _ in 0..3 {
        server.mint("alice", now("r")).await.unwrap();
    }
    let status = server.mint("alice", now("r")).await.unwrap_err();
    let reported = reported_error(&status);
    assert_eq!(
        (reported.code, &*reported.reason),
        (Code::ResourceExhausted, "CALLER_QUOTA_EXCEEDED")
    );
    let quota = status.get_details_quota_failure().unwrap();
    let violation = &quota.violations[0];
    assert_eq!((&*violation.subject, &*violation.description), ("callers/tester", "tokens"));
    let refill = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(refill > Duration::ZERO && refill <= Duration::from_millis(1_250), "{refill:?}");
    let held = MintOptions { max_wait: None, ..now("r") };
    assert!(server.mint("alice", held).await.is_ok(), "it must wait until there is quota");

    // Bulks have their own quota: one chunk of what is left, then the end of the wait.
    let (count, status) = bulk(&server, series(now("r"), "a", 0, 100)).await.unwrap_err();
    assert_eq!(count, 40);
    let reported = reported_error(&status);
    assert_eq!(
        (&*reported.reason, &*reported.metadata["resume_index"]),
        ("CALLER_QUOTA_EXCEEDED", "40")
    );
    let refill = status.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(refill > Duration::from_secs(14), "a chunk of fewer than 16 tokens: {refill:?}");
    // A last chunk with fewer tokens waits only until the quota covers them.
    assert_eq!(bulk(&server, series(of("room", "r"), "a", 99, 100)).await.unwrap(), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entry_has_a_stream_limit() {
    let server = server("streams = 2", r#"{ profiles = ["room"] }"#).await;
    let mut watches = Vec::new();
    for _ in 0..2 {
        let request = WatchGrantsRequest::default();
        watches.push(soon(server.grants().watch_grants(request)).await.unwrap());
    }
    let (_, status) = bulk(&server, series(of("room", "r"), "a", 0, 1)).await.unwrap_err();
    let reported = reported_error(&status);
    assert_eq!(
        (reported.code, &*reported.reason),
        (Code::ResourceExhausted, "CALLER_STREAMS_EXCEEDED")
    );
    assert_eq!(status.get_details_quota_failure().unwrap().violations[0].description, "streams");
    assert!(
        server.mint("alice", of("room", "r")).await.is_ok(),
        "a single call counts as a stream"
    );
}

/// An entry with these keys and rows.
fn tables(keys: &str, rows: &str) -> String {
    let live = profile("live", &VJ[..2], "");
    format!("{live}\n[callers.tester]\nmatch = [\"loopback\"]\n{keys}\nallow = [{rows}, {SEEN}]\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_streams_are_checked_again_when_rows_change() {
    let slow = "bulk_tokens = { rate = 4, burst = 16 }";
    let mints = |row: &str| format!("{{ methods = [\"MintTokens\", \"GetGrant\"], {row} }}");
    let before = tables(slow, &mints("profiles = [\"live\"], identities = [\"a*\"]"));
    let (server, file) = TestServer::following(&before).await;
    let options = || MintOptions { max_wait: Some(seconds(10)), ..of("live", VJ[0]) };
    // The second chunk waits 4 s for quota.
    let request = series(options(), "a", 0, 100);
    let mut bulk = soon(server.tokens().mint_tokens(request)).await.unwrap().into_inner();
    assert_eq!(soon(bulk.message()).await.unwrap().unwrap().tokens.len(), 16);
    let waiting = tokio::spawn(async move { bulk.message().await });
    let watched = WatchGrantsRequest { target: None };
    let mut watch = soon(server.grants().watch_grants(watched)).await.unwrap().into_inner();
    assert!(soon(watch.message()).await.unwrap().unwrap().snapshot_complete);
    let requested = HealthCheckRequest { service: "profiles/live".to_owned() };
    let mut health = soon(HealthClient::new(server.channel.clone()).watch(requested))
        .await
        .unwrap()
        .into_inner();
    let known = soon(health.message()).await.unwrap().unwrap().status();
    assert_eq!(known, ServingStatus::Serving);

    let after = mints("profiles = [\"live\"], identities = [\"b*\"], resources = [\"x\"]");
    let fewer = SEEN.replace("profiles", "resources = [\"x\"], profiles");
    file.write(&tables(slow, &after.replace(", \"GetGrant\"", "")).replace(SEEN, &fewer));
    let status = soon(waiting).await.unwrap().unwrap_err();
    let reported = denied(&status, "RESOURCE_NOT_ALLOWED");
    assert_eq!(reported.metadata["resume_index"], "16");
    denied(&soon(watch.message()).await.unwrap_err(), "RESOURCE_NOT_ALLOWED");
    let unknown = soon(health.message()).await.unwrap().unwrap().status();
    assert_eq!(unknown, ServingStatus::ServiceUnknown, "a denied service is visible");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observed_denials_are_counted() {
    let live = profile("live", &VJ[..1], "");
    let tables = format!(
        "{live}{ROOM}\n[callers.tester]\nmatch = [\"loopback\"]\n\
         tokens = {{ rate = 1, burst = 1 }}\nallow = [{{ profiles = [\"room\"], identities = [\"a*\"] }}]\n\
         [server]\nauthorize = \"observe\"\n"
    );
    let server = TestServer::with_faults(&tables, &[]).await;
    for identity in ["bob", "a1", "a2"] {
        assert!(server.mint(identity, of("room", "r")).await.is_ok());
    }
    assert!(server.mint("a", of("live", VJ[0])).await.is_ok());
    let page = get(&format!("http://{}/metrics", server.admin)).await.1;
    // How many calls exceed the quota depends on their speed.
    for (reason, counts) in [
        ("IDENTITY_NOT_ALLOWED", 1..=1),
        ("PROFILE_NOT_ALLOWED", 1..=1),
        ("CALLER_QUOTA_EXCEEDED", 1..=3),
    ] {
        let labels = format!("{{caller=\"tester\",reason=\"{reason}\",mode=\"observe\"}} ");
        let figure = page.lines().find_map(|it| {
            it.strip_prefix("grantmint_caller_refusals_total")?.strip_prefix(&labels)
        });
        let count: u64 = figure.expect("a counter").parse().expect("a count");
        assert!(counts.contains(&count), "{reason}: {count}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn observed_denials_are_served() {
    let live = profile("live", &VJ[..1], "");
    let tables = format!(
        "{live}{ROOM}\n[callers.tester]\nmatch = [\"loopback\"]\n\
         tokens = {{ rate = 1, burst = 1 }}\nallow = [{{ profiles = [\"live\"], max_ttl = \"5s\" }}]\n\
         [server]\nauthorize = \"observe\"\n"
    );
    let server = TestServer::of(&tables).await;
    for _ in 0..5 {
        assert!(server.mint("alice", of("room", "r")).await.is_ok());
    }
    assert_eq!(bulk(&server, series(of("room", "r"), "a", 0, 5)).await.unwrap(), [5]);
    let status = server.mint("alice", of("nowhere", "r")).await.unwrap_err();
    assert_eq!(
        reported_error(&status).reason,
        "PROFILE_NOT_FOUND",
        "the error differs from that without rows"
    );
    let mut reflection = ServerReflectionClient::new(server.channel.clone());
    let requested = futures_util::stream::iter([ServerReflectionRequest::default()]);
    let status = soon(reflection.server_reflection_info(requested)).await.err().unwrap();
    denied(&status, "METHOD_NOT_ALLOWED");
}
