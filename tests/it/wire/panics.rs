//! The layers around every call, with a service that misbehaves.

use std::{
    convert::Infallible,
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use grantmint::{
    auth::{
        bearer::{Bearers, Issuers},
        callers::Callers,
        peer::Peer,
        policy::{Mode, Policy},
    },
    clock::Clock,
    drain::{Drainer, drain, lifetime::Lifetime},
    rpc::layers::Layers,
    server::{self, Server},
    telemetry::{Metrics, MetricsFormat},
};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use tonic::{Code, body::Body};
use tower_service::Service;

use super::harness::{MARKER, assert_refused, post, raw_client};
use crate::support::until;

/// Misbehaves as a header requests.
#[derive(Clone)]
struct Misbehaves;

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Sends one frame, then panics.
struct PanickingBody(bool);

impl http_body::Body for PanickingBody {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        assert!(!self.0, "{MARKER} in the body");
        self.0 = true;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0, 0, 0, 0, 0])))))
    }
}

impl<B> Service<Request<B>> for Misbehaves {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let does = request.headers().get("does").map(|does| does.to_str().unwrap());
        let does = does.unwrap_or("nothing").to_owned();
        assert!(does != "panic in call", "{MARKER} in call");
        Box::pin(async move {
            match does.as_str() {
                "panic in future" => {
                    tokio::task::yield_now().await;
                    panic!("{MARKER} in the future");
                }
                "panic in body" => Ok(Response::new(Body::new(PanickingBody(false)))),
                "nothing" => std::future::pending().await,
                _ => {
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", 0.into());
                    let body = http_body_util::Empty::<Bytes>::new();
                    let body =
                        http_body_util::BodyExt::with_trailers(body, async { Some(Ok(trailers)) });
                    Ok(Response::new(Body::new(body)))
                }
            }
        })
    }
}

fn bearers(metrics: &Metrics) -> Arc<Bearers> {
    Arc::new(Bearers::new(Issuers::default(), true, Clock::system(), metrics, None))
}

fn callers(metrics: &Metrics) -> Arc<Callers> {
    Arc::new(Callers::new(Policy::Open, Mode::Enforce, metrics))
}

async fn serve(metrics: &Metrics) -> (SocketAddr, Drainer) {
    let (drainer, drain) = drain();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0)).into();
    let config = server::Config { listen, ..server::Config::default() };
    let callers = callers(metrics);
    let bound = Server::bind(&config, config.plain(), Arc::clone(&callers), drain, metrics).await;
    let server = bound.unwrap();
    let addr = server.addr().expect("TCP");
    tokio::spawn(server.run(Layers::new(Misbehaves, callers, bearers(metrics), metrics)));
    (addr, drainer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handler_panic_is_internal_and_affects_no_other_call() {
    let metrics = Metrics::default();
    let (addr, _drainer) = serve(&metrics).await;
    let client = raw_client(addr).await;
    // A call that is in flight on the same connection throughout.
    let held = tokio::spawn({
        let client = client.clone();
        let path = "/grantmint.v1.TokenService/MintToken";
        async move { post(&client, path, &[("grpc-timeout", "1500m")], Bytes::new()).await }
    });
    for _ in 0..3 {
        let get = "/grantmint.v1.GrantService/GetGrant";
        for does in ["panic in call", "panic in future", "panic in body"] {
            let answer = post(&client, get, &[("does", does)], Bytes::new()).await;
            assert_refused(does, answer.status(), Code::Internal, "UNEXPECTED", &[]);
            assert_eq!(answer.body.len(), if does == "panic in body" { 5 } else { 0 });
        }
        let good = post(&client, get, &[("does", "well")], Bytes::new()).await;
        assert_eq!(good.status().code(), Code::Ok);
    }
    let held = held.await.unwrap();
    assert_refused("held", held.status(), Code::DeadlineExceeded, "DEADLINE_EXCEEDED", &[]);
    let counted = |code: &str| {
        let page = metrics.render(MetricsFormat::OpenMetrics);
        let code = format!("grpc_code=\"{code}\"");
        let line = page
            .lines()
            .find(|l| l.contains("handled") && l.contains("\"GetGrant\"") && l.contains(&code));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    until("all are counted", async || counted("Internal") == Some(9)).await;
    assert_eq!(counted("OK"), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_unary_call_without_a_deadline_gets_12_s_and_a_stream_none() {
    let peer = Peer {
        name: None,
        other_names: Vec::new(),
        certificate: None,
        from: IpAddr::from(Ipv4Addr::LOCALHOST).into(),
    };
    let metrics = Metrics::default();
    let layers = Layers::new(Misbehaves, callers(&metrics), bearers(&metrics), &metrics);
    let mut guarded = layers.around(peer, Lifetime::default());
    let call = |method: &str, timeout: Option<&str>| {
        let does = if method == "MintToken" { "nothing" } else { "well" };
        let mut request = Request::post(format!("/grantmint.v1.TokenService/{method}"))
            .header("content-type", "application/grpc")
            .header("does", does);
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", timeout);
        }
        request.body(String::new()).unwrap()
    };
    for (timeout, expected) in
        [(None, 12_000), (Some("5S"), 5_000), (Some("99S"), 99_000), (Some("250m"), 250)]
    {
        let started = tokio::time::Instant::now();
        let response = guarded.call(call("MintToken", timeout)).await.unwrap();
        let status = tonic::Status::from_header_map(response.headers()).unwrap();
        assert_refused("late", &status, Code::DeadlineExceeded, "DEADLINE_EXCEEDED", &[]);
        let took = started.elapsed();
        let expected = Duration::from_millis(expected);
        assert!(took >= expected && took < expected + Duration::from_millis(50), "{took:?}");
    }
    let response = guarded.call(call("MintTokens", None)).await.unwrap();
    assert!(tonic::Status::from_header_map(response.headers()).is_none());
}
