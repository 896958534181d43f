//! Thousands of random requests.

use std::collections::BTreeMap;

use fastrand::Rng;
use grantmint::rpc::proto::{
    GetGrantRequest, IdentityList, IdentitySeries, ListGrantsRequest, MintOptions,
    MintTokenRequest, MintTokensRequest, WatchGrantsRequest, mint_tokens_request::Selection,
    watch_grants_request::Target,
};
use prost_types::{Duration, ListValue, Struct, Value, value::Kind};
use tonic::{Code, Status};

use super::harness::{MARKER, TestServer, VJ, framed, post, profile, reported_error};
use crate::support::soon;

const REQUESTS: usize = 5_000;

/// Every reason that a request may get while nothing fails.
const REASONS: [(Code, &str); 17] = [
    (Code::InvalidArgument, "IDENTITY_INVALID"),
    (Code::InvalidArgument, "TTL_OUT_OF_RANGE"),
    (Code::InvalidArgument, "SELECTION_INVALID"),
    (Code::InvalidArgument, "BULK_TOO_LARGE"),
    (Code::InvalidArgument, "PROFILE_REQUIRED"),
    (Code::InvalidArgument, "RESOURCE_REQUIRED"),
    (Code::InvalidArgument, "RESOURCE_INVALID"),
    (Code::InvalidArgument, "GENERATION_INVALID"),
    (Code::InvalidArgument, "VALIDITY_UNATTAINABLE"),
    (Code::InvalidArgument, "EXPIRY_POLICY_NOT_ALLOWED"),
    (Code::InvalidArgument, "OPTION_INVALID"),
    (Code::InvalidArgument, "PARAM_INVALID"),
    (Code::InvalidArgument, "GRANT_NAME_INVALID"),
    (Code::InvalidArgument, "PAGE_TOKEN_INVALID"),
    (Code::NotFound, "PROFILE_NOT_FOUND"),
    (Code::NotFound, "RESOURCE_NOT_FOUND"),
    (Code::Unavailable, "GRANT_NOT_NEWER"),
];

/// Every field that can be invalid, without list indices.
const FIELDS: [&str; 18] = [
    "identity",
    "options.profile",
    "options.resource",
    "options.ttl",
    "options.min_remaining_validity",
    "options.max_wait",
    "options.expiry_policy",
    "options.after_generation",
    "options.params",
    "selection",
    "identity_list.identities",
    "identity_series.prefix",
    "identity_series.count",
    "start_index",
    "chunk_size",
    "name",
    "page_size",
    "page_token",
];

fn pick<T: Clone>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())].clone()
}

fn integer(rng: &mut Rng) -> i64 {
    let edges = [0, 0, 1, 2, 3, 59, 60, 999_999_999, 1_000_000_000, i64::MAX, i64::MIN, -1];
    if rng.u8(..4) == 0 { rng.i64(..) } else { pick(rng, &edges) }
}

#[expect(clippy::cast_possible_truncation, reason = "any value will do")]
fn small(rng: &mut Rng) -> i32 {
    integer(rng) as i32
}

/// Any string of up to 300 characters, often with the marker in it.
fn text(rng: &mut Rng) -> String {
    let length = pick(rng, &[0, 1, 3, 20, 255, 256, 300]);
    let any: String = (0..length).map(|_| rng.char(..)).collect();
    match rng.u8(..6) {
        0 => String::new(),
        1 => MARKER.to_owned(),
        2 => "alice".to_owned(),
        3 => format!("{MARKER}{any}"),
        4 => "x".repeat(length),
        _ => any,
    }
}

fn duration(rng: &mut Rng) -> Option<Duration> {
    let seconds = integer(rng);
    rng.bool().then(|| Duration { seconds, nanos: if rng.bool() { 0 } else { small(rng) } })
}

fn options(rng: &mut Rng) -> Option<MintOptions> {
    let mut usual = |usual: &[&str]| {
        if rng.u8(..4) == 0 { text(rng) } else { pick(rng, usual).to_owned() }
    };
    let (profile, resource) =
        (usual(&["", "live", "other"]), usual(&["", VJ[0], VJ[1], VJ[2], "VJ"]));
    // Waiting calls would make this slow.
    let max_wait = if rng.u8(..4) == 0 { duration(rng) } else { None };
    let max_wait = max_wait.filter(|wait| wait.seconds <= 0).or_else(|| Some(Duration::default()));
    let options = MintOptions {
        profile,
        resource,
        ttl: duration(rng),
        min_remaining_validity: duration(rng),
        max_wait,
        expiry_policy: if rng.u8(..4) == 0 { small(rng) } else { rng.i32(0..4) },
        after_generation: if rng.bool() { 0 } else { integer(rng) },
        params: (rng.u8(..4) == 0).then(|| Struct {
            fields: (0..rng.usize(..3))
                .map(|_| {
                    (pick(rng, &["name", "can_publish", "", "A B", "é"]).to_owned(), param(rng, 0))
                })
                .collect(),
        }),
    };
    (rng.u8(..8) > 0).then_some(options)
}

/// Any value, including none and values nested deeper than allowed.
fn param(rng: &mut Rng, depth: usize) -> Value {
    let kind = match rng.u8(..7) {
        0 => None,
        1 => Some(Kind::NullValue(0)),
        2 => Some(Kind::BoolValue(rng.bool())),
        3 => Some(Kind::NumberValue(f64::from_bits(rng.u64(..)))),
        4 => Some(Kind::StringValue(text(rng))),
        _ if depth > 12 => None,
        _ => {
            let values = (0..rng.usize(..3)).map(|_| param(rng, depth + 1)).collect();
            Some(Kind::ListValue(ListValue { values }))
        }
    };
    Value { kind }
}

fn selection(rng: &mut Rng) -> Option<Selection> {
    match rng.u8(..8) {
        0 => None,
        1..=3 => {
            let identities = (0..rng.usize(..5)).map(|_| text(rng)).collect();
            Some(Selection::IdentityList(IdentityList { identities }))
        }
        _ => {
            let count = if rng.bool() { rng.i64(..50) } else { integer(rng) };
            let count = if count > 1_000 { i64::MAX } else { count };
            Some(Selection::IdentitySeries(IdentitySeries { prefix: text(rng), count }))
        }
    }
}

fn grant_name(rng: &mut Rng) -> String {
    match rng.u8(..4) {
        0 => text(rng),
        1 => format!("profiles/{}/grants/{}", text(rng), text(rng)),
        2 => format!("profiles/live/grants/{}", text(rng)),
        _ => format!("profiles/live/grants/{}", VJ[0]),
    }
}

async fn one(server: &TestServer, rng: &mut Rng) -> Result<(), Status> {
    match rng.u8(..6) {
        0 | 1 => {
            let request = MintTokenRequest { options: options(rng), identity: text(rng) };
            soon(server.tokens().mint_token(request)).await.map(drop)
        }
        2 | 3 => {
            let request = MintTokensRequest {
                options: options(rng),
                selection: selection(rng),
                start_index: if rng.bool() { 0 } else { integer(rng) },
                chunk_size: if rng.bool() { 0 } else { small(rng) },
            };
            let mut stream = soon(server.tokens().mint_tokens(request)).await?.into_inner();
            while soon(stream.message()).await?.is_some() {}
            Ok(())
        }
        4 => {
            let request = ListGrantsRequest {
                profile: if rng.bool() { String::new() } else { text(rng) },
                page_size: small(rng),
                page_token: if rng.bool() { String::new() } else { text(rng) },
            };
            soon(server.grants().list_grants(request)).await?;
            soon(server.grants().get_grant(GetGrantRequest { name: grant_name(rng) }))
                .await
                .map(drop)
        }
        _ => {
            let target = match rng.u8(..3) {
                0 => None,
                1 => Some(Target::Profile(text(rng))),
                _ => Some(Target::Name(grant_name(rng))),
            };
            let watched = soon(server.grants().watch_grants(WatchGrantsRequest { target })).await?;
            soon(watched.into_inner().message()).await.map(drop)
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_request_gets_ok_or_a_documented_reason() {
    let tables = profile("live", &VJ[..2], "default_resource = \"VJ\"")
        .replace("\"VJ\"", &format!("{:?}", VJ[0]))
        + &profile("other", &VJ[2..], "");
    let server = TestServer::of(&format!("default_profile = \"live\"\n{tables}")).await;
    let mut rng = Rng::with_seed(0x6772_616e_746d);
    let mut seen = BTreeMap::<String, usize>::new();
    for at in 0..REQUESTS {
        let before = rng.get_seed();
        let outcome = match one(&server, &mut rng).await {
            Ok(()) => "OK".to_owned(),
            Err(status) => {
                let reported = reported_error(&status);
                let known = REASONS.iter().any(|known| *known == (reported.code, &reported.reason));
                let fields = reported.fields.iter().all(|field| {
                    let path = field.split('[').next().unwrap_or_default();
                    FIELDS.contains(&path) || path.starts_with("options.params.")
                });
                assert!(known && fields, "request {at}, seed {before}: {reported:?}");
                reported.reason
            }
        };
        *seen.entry(outcome).or_default() += 1;
    }
    assert!(seen.len() >= 12, "the requests are not varied enough: {seen:?}");
    assert!(seen["OK"] > REQUESTS / 20, "too few valid requests: {seen:?}");
    server.serves(MintOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_bytes_get_a_response_and_cause_no_panic() {
    let server = TestServer::simple().await;
    let mut rng = Rng::with_seed(0x7769_7265);
    let methods = [
        "/grantmint.v1.TokenService/MintToken",
        "/grantmint.v1.TokenService/MintTokens",
        "/grantmint.v1.GrantService/GetGrant",
        "/grantmint.v1.GrantService/ListGrants",
        "/grpc.health.v1.Health/Check",
    ];
    for _ in 0..REQUESTS {
        let bytes: Vec<u8> = (0..rng.usize(..64))
            .map(|_| pick(&mut rng, &[0, 1, 8, 10, 18, 26, 34, 65, 255]))
            .collect();
        let method = pick(&mut rng, &methods);
        let answer = post(&server.raw, method, &[], framed(&bytes)).await;
        let details = answer.status().details();
        let text = format!("{:?} {}", answer.status(), String::from_utf8_lossy(details));
        assert!(!text.contains("UNEXPECTED"), "{bytes:?}: {text}");
    }
    server.serves(MintOptions::default()).await;
}
