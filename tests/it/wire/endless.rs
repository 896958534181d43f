//! Requests that never end.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use grantmint::rpc::proto::MintTokenResponse;
use http::Request;
use http_body::Frame;
use http_body_util::BodyExt;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::{net::TcpStream, task::JoinSet, time};
use tonic::{Code, Status};

use super::{
    harness::{TestServer, reported_error},
    transport::{METHODS, MINT, alice},
};
use crate::support::soon;

/// Sends these bytes, then nothing more, or the end of the request.
struct PartialBody(Option<Bytes>, BodyEnd);

#[derive(Clone, Copy, PartialEq)]
enum BodyEnd {
    Never,
    AtOnce,
}

impl http_body::Body for PartialBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.0.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if self.1 == BodyEnd::AtOnce => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

async fn client(server: &TestServer) -> SendRequest<PartialBody> {
    let stream = soon(TcpStream::connect(server.addr)).await.unwrap();
    let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (client, connection) = soon(handshake).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A call's status and message.
async fn call(
    client: &SendRequest<PartialBody>,
    path: &str,
    timeout: Option<&str>,
    body: PartialBody,
) -> (Status, Bytes) {
    let mut request = Request::post(format!("http://grantmint{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if let Some(timeout) = timeout {
        request = request.header("grpc-timeout", timeout);
    }
    let request = client.clone().send_request(request.body(body).unwrap());
    let (head, body) = soon(request).await.unwrap().into_parts();
    let body = soon(body.collect()).await.unwrap();
    let status = body.trailers().and_then(Status::from_header_map);
    let status = status.or_else(|| Status::from_header_map(&head.headers));
    (status.expect("a grpc-status"), body.to_bytes())
}

#[tokio::test]
async fn endless_request_is_reset_at_10_s_and_frees_its_stream() {
    let server = TestServer::simple().await;
    let client = client(&server).await;
    let started: [&'static [u8]; 4] = [&[], &[0, 0, 0], &[0, 0, 0, 0, 9, 1], &[0, 0, 0, 0, 0]];
    let methods = METHODS.into_iter().chain(["/grpc.health.v1.Health/Check"]);
    let mut calls = JoinSet::new();
    for method in methods.chain(["/grpc.health.v1.Health/Watch"]) {
        let timeouts = [(None, 10), (Some("11S"), 10), (Some("99999999H"), 10), (Some("5S"), 5)];
        let cases =
            timeouts.into_iter().flat_map(|timeout| started.map(|started| (timeout, started)));
        for ((timeout, seconds), started) in cases {
            let (client, from) = (client.clone(), time::Instant::now());
            calls.spawn(async move {
                let body = PartialBody(Some(Bytes::from_static(started)), BodyEnd::Never);
                let (status, body) = call(&client, method, timeout, body).await;
                let case = format!("{method} {timeout:?} {started:?}");
                let reported = reported_error(&status);
                let seen = (reported.code, reported.reason.as_str());
                assert_eq!(seen, (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"), "{case}");
                assert!(reported.metadata.is_empty(), "{case}: a resume index without a request");
                assert_eq!(body.len(), 0, "{case}");
                let took = from.elapsed();
                assert!((seconds..seconds + 2).contains(&took.as_secs()), "{case}: {took:?}");
            });
        }
    }
    // Frames stay in order: when these calls have ended, the others have been read.
    let mint = || call(&client, MINT, None, PartialBody(Some(alice()), BodyEnd::AtOnce));
    for _ in 0..3 {
        assert_eq!(mint().await.0.code(), Code::Ok);
    }
    // From here on time passes whenever nothing else happens.
    time::pause();
    while let Some(ended) = calls.join_next().await {
        ended.unwrap();
    }
    time::resume();

    // As many streams as one connection may have.
    let minted = (0..128).map(|_| mint());
    for (status, body) in time::timeout(Duration::from_secs(5), join_all(minted)).await.unwrap() {
        assert_eq!(status.code(), Code::Ok, "{status:?}");
        assert!(!MintTokenResponse::decode(body.slice(5..)).unwrap().token.is_empty());
    }
}
