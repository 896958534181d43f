//! Requests that no ordinary client sends: broken bytes, unknown paths, invalid timeouts.

use bytes::Bytes;
use futures_util::future::join_all;
use grantmint::rpc::proto::{
    GetGrantRequest, MintOptions, MintTokenRequest, MintTokenResponse, MintTokensResponse,
};
use http::{Request, uri::PathAndQuery};
use http_body_util::Full;
use prost::Message;
use tokio::time::Instant;
use tonic::{Code, client::Grpc};
use tonic_prost::ProstCodec;

use super::{
    bulk::series_with,
    harness::{
        MARKER, TestServer, VJ, assert_refused, assert_silent, framed, post, profile,
        reported_error,
    },
};
use crate::support::{mint, soon};

pub(super) const MINT: &str = "/grantmint.v1.TokenService/MintToken";
const BULK: &str = "/grantmint.v1.TokenService/MintTokens";
const GET: &str = "/grantmint.v1.GrantService/GetGrant";
pub(super) const METHODS: [&str; 5] = [
    MINT,
    BULK,
    GET,
    "/grantmint.v1.GrantService/ListGrants",
    "/grantmint.v1.GrantService/WatchGrants",
];

pub(super) fn alice() -> Bytes {
    let request = MintTokenRequest { options: None, identity: "alice".into() };
    framed(&request.encode_to_vec())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_bytes_are_refused_without_an_echo() {
    let server = TestServer::simple().await;
    let marker = u8::try_from(MARKER.len()).unwrap();
    let text = |field: u8, text: &[u8]| {
        [&[field << 3 | 2, u8::try_from(text.len()).unwrap()], text].concat()
    };
    let not_utf8 = [MARKER.as_bytes(), &[0xff]].concat();
    let broken: [(&str, Vec<u8>); 5] = [
        ("cut short", [&[0x0a, marker + 9], MARKER.as_bytes()].concat()),
        ("a tag of zero", [&[0], MARKER.as_bytes()].concat()),
        ("an endless varint", [0xff; 11].to_vec()),
        ("a group that never ends", [&[0x0b], MARKER.as_bytes()].concat()),
        ("not UTF-8", [text(1, &not_utf8), text(2, &not_utf8)].concat()),
    ];
    for method in METHODS {
        for (case, bytes) in &broken {
            let answer = post(&server.raw, method, &[], framed(bytes)).await;
            assert_silent(answer.status());
            assert_eq!(answer.status().code(), Code::Internal, "{case}: {method}");
            assert_eq!(answer.body.len(), 0);
        }
        // Frames that declare more than they contain, or contain nothing.
        for body in [&[][..], &[0, 0], &[0, 0, 0, 0, 9, 1], &[0, 0xff, 0xff, 0xff, 0xff, 1]] {
            let answer = post(&server.raw, method, &[], Bytes::copy_from_slice(body)).await;
            let code = answer.status().code();
            assert!(
                matches!(code, Code::Internal | Code::OutOfRange),
                "{body:?}: {method}: {code}"
            );
        }
        let compressed = Bytes::from_static(&[1, 0, 0, 0, 1, 0]);
        for headers in [&[][..], &[("grpc-encoding", "gzip")], &[("grpc-encoding", MARKER)]] {
            let answer = post(&server.raw, method, headers, compressed.clone()).await;
            let code = answer.status().code();
            assert!(matches!(code, Code::Internal | Code::Unimplemented), "{headers:?}: {code}");
        }
    }
    server.serves(MintOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_size_limits_differ_for_unary_and_bulk() {
    let server = TestServer::simple().await;
    let big = |bytes: usize| {
        let identity = MARKER.repeat(bytes / MARKER.len() + 1);
        framed(&MintTokenRequest { options: None, identity }.encode_to_vec())
    };
    for method in METHODS {
        let limit = if method == BULK { 4 << 20 } else { 64 << 10 };
        let answer = post(&server.raw, method, &[], big(limit)).await;
        assert_eq!(answer.status().code(), Code::OutOfRange, "{method}");
        assert_silent(answer.status());
    }
    // A MintToken request of the maximum size is checked for its content.
    let answer = post(&server.raw, MINT, &[], big((64 << 10) - 100)).await;
    let (code, reason) = (Code::InvalidArgument, "IDENTITY_INVALID");
    assert_refused("large", answer.status(), code, reason, &["identity"]);
    server.serves(MintOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_methods_and_services_are_unimplemented() {
    let server = TestServer::simple().await;
    for path in [
        format!("/grantmint.v1.TokenService/{MARKER}"),
        format!("/grantmint.v1.GrantService/{MARKER}"),
        format!("/grantmint.v1.{MARKER}/MintToken"),
        format!("/grpc.health.v1.Health/{MARKER}"),
        format!("/grpc.reflection.v1.ServerReflection/{MARKER}"),
        format!("/{MARKER}"),
        "/".to_owned(),
        "//".to_owned(),
        format!("{MINT}/"),
        format!("{MINT}/{MARKER}"),
        MINT.to_lowercase(),
    ] {
        let answer = post(&server.raw, &path, &[], alice()).await;
        assert_eq!(answer.status().code(), Code::Unimplemented, "{path}");
        assert_silent(answer.status());
    }
    server.serves(MintOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ill_formed_timeout_counts_as_absent() {
    let server = TestServer::simple().await;
    let odd = ["", "S", "1", "1s", "-1S", "+1S", "123456789S", "1.5S", "1 S", " 1S", "0x1S", "nS"];
    for timeout in odd.into_iter().chain([MARKER, "99999999H", "99999999n", "00000060S"]) {
        let answer = post(&server.raw, MINT, &[("grpc-timeout", timeout)], alice()).await;
        assert_eq!(answer.status().code(), Code::Ok, "{timeout:?}: {:?}", answer.status());
        assert!(!answer.message::<MintTokenResponse>().token.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expired_deadline_is_reported_and_mints_nothing() {
    let server = TestServer::simple().await;
    let get = GetGrantRequest { name: format!("profiles/live/grants/{}", VJ[0]) };
    for timeout in ["0S", "0n"] {
        for (method, body) in [(MINT, alice()), (GET, framed(&get.encode_to_vec()))] {
            let answer = post(&server.raw, method, &[("grpc-timeout", timeout)], body).await;
            let (code, reason) = (Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
            assert_refused(timeout, answer.status(), code, reason, &[]);
            assert_eq!(answer.body.len(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_ends_before_its_deadline_with_a_resume_index() {
    let server = TestServer::simple().await;
    for (timeout, start) in [("40m", 3), ("2S", 0)] {
        let request = grantmint::rpc::proto::MintTokensRequest {
            start_index: start,
            chunk_size: 1,
            ..series_with(None, "p", 1_000_000)
        };
        let body = framed(&request.encode_to_vec());
        let answer = post(&server.raw, BULK, &[("grpc-timeout", timeout)], body).await;
        let reported = reported_error(answer.status());
        let seen = (reported.code, reported.reason.as_str());
        assert_eq!(seen, (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
        let (mut rest, mut index) = (answer.body, start);
        while !rest.is_empty() {
            let length = u32::from_be_bytes(rest[1..5].try_into().unwrap());
            let chunk = rest.split_to(5 + usize::try_from(length).unwrap());
            let chunk = MintTokensResponse::decode(&chunk[5..]).unwrap();
            assert_eq!(chunk.first_index, index);
            index += i64::try_from(chunk.tokens.len()).unwrap();
        }
        assert_eq!(reported.metadata["resume_index"], index.to_string(), "after {timeout}");
        assert_eq!(index > start, timeout == "2S");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_waits_within_its_deadline_and_max_wait() {
    let server = TestServer::with_faults(&profile("live", &VJ[..1], ""), &["hang"]).await;
    let hold = |max_wait: Option<i64>| {
        let max_wait = max_wait.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
        let options = Some(MintOptions { max_wait, ..MintOptions::default() });
        framed(&MintTokenRequest { options, identity: MARKER.into() }.encode_to_vec())
    };
    let long = Some(315_576_000_000);
    // Each of these limits ends the wait first in one case: the default of 2 s, the maximum of 10
    // s, the deadline.
    for (timeout, max_wait, otherwise) in
        [("60S", Some(0), 2_000), ("400m", long, 10_000), ("60S", long, 60_000)]
    {
        let started = Instant::now();
        let answer = post(&server.raw, MINT, &[("grpc-timeout", timeout)], hold(max_wait)).await;
        let took = started.elapsed().as_millis();
        let reported = reported_error(answer.status());
        assert_eq!((reported.code, reported.reason.as_str()), (Code::Unavailable, "GRANT_PENDING"));
        assert!(took < otherwise, "{timeout} {max_wait:?}: {took} ms");
    }
    let bulk = framed(&series_with(None, MARKER, 3).encode_to_vec());
    let answer = post(&server.raw, BULK, &[("grpc-timeout", "2S")], bulk).await;
    let reported = reported_error(answer.status());
    assert_eq!((reported.code, reported.reason.as_str()), (Code::Unavailable, "GRANT_PENDING"));
    assert_eq!(reported.metadata["resume_index"], "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn non_grpc_request_gets_an_http_status() {
    let server = TestServer::simple().await;
    let ask = async |method: &str, kinds: &[&str]| {
        let mut request = Request::builder().method(method).uri(format!("http://grantmint{MINT}"));
        for kind in kinds {
            request = request.header("content-type", *kind);
        }
        let request = request.header("te", "trailers").body(Full::new(alice())).unwrap();
        let answer = soon(server.raw.clone().send_request(request)).await.unwrap();
        let refusal = answer.headers().get("grpc-status").cloned();
        (answer.status().as_u16(), refusal.is_some())
    };
    let good = [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc;charset=utf-8",
        "application/grpc+proto; x=y",
        "Application/gRPC",
    ];
    for kind in good {
        assert_eq!(ask("POST", &[kind]).await, (200, false), "{kind}");
    }
    let bad = ["", "text/plain", "application/json", "application/grpc-web", "application/grpcx"];
    for kind in bad.into_iter().chain(["application/grpc+json"]) {
        assert_eq!(ask("POST", &[kind]).await, (415, true), "{kind}");
    }
    assert_eq!(ask("POST", &[]).await, (415, true));
    for method in ["GET", "PUT", "HEAD", "OPTIONS", "DELETE", "ODD"] {
        assert_eq!(ask(method, &good[..1]).await.0, 405, "{method}");
    }
    server.serves(MintOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_with_too_many_header_fields_is_refused() {
    let server = TestServer::simple().await;
    let ask = async |fields: usize| {
        let mut request = Request::post(format!("http://grantmint{MINT}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        // In addition to these two, and the content length that the client adds.
        for _ in 3..fields {
            request = request.header("x", "y");
        }
        let request = request.body(Full::new(alice())).unwrap();
        soon(server.raw.clone().send_request(request)).await.unwrap().status().as_u16()
    };
    assert_eq!((ask(64).await, ask(65).await), (200, 431));
    server.serves(MintOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_calls_do_not_use_up_their_connection() {
    let server = TestServer::simple().await;
    let refused = async || {
        let mut client = Grpc::new(server.channel.clone());
        client.ready().await.unwrap();
        let codec = ProstCodec::<MintTokenRequest, MintTokenResponse>::default();
        let path = PathAndQuery::from_static("/grantmint.v1.TokenService/Nothing");
        client.unary(tonic::Request::new(mint("alice", None)), path, codec).await.unwrap_err()
    };
    // More than HTTP/2 buffers for messages that nobody reads.
    for _ in 0..60 {
        let calls = (0..64).map(|_| refused());
        for status in soon(join_all(calls)).await {
            assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
        }
    }
    server.serves(MintOptions::default()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_message_is_refused() {
    let server = TestServer::simple().await;
    let empty = framed(&[]);
    for method in METHODS {
        for first in [alice(), empty.clone()] {
            let two = [first, empty.clone()].concat().into();
            let answer = post(&server.raw, method, &[], two).await;
            assert_eq!(answer.status().code(), Code::Unimplemented, "{method}");
        }
    }
    server.serves(MintOptions::default()).await;
}
