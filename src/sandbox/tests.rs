//! The engine over TCP, with a minimal upstream.

mod bodies;
mod faults;
mod plain;
mod played;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use self::plain::{KEY, Plain, RESOURCE, path};
use super::*;
use crate::clock::{Simulation, WallTime};

const NOW: i64 = 1_700_000_000;
const FORM: &str = "ttl=60";

struct Reply {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn credential(&self) -> String {
        self.json()["credential"].as_str().unwrap().to_owned()
    }
}

/// Fails a test that hangs.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("the test hangs")
}

async fn sandbox(config: Config) -> Sandbox {
    clocked(config).await.0
}

/// A sandbox with a simulated clock.
async fn clocked(config: Config) -> (Sandbox, Arc<Simulation>) {
    let (clock, simulation) = Clock::simulated(WallTime::from_unix_seconds(NOW));
    let bound = Sandbox::bind("127.0.0.1:0".parse().unwrap(), config, clock).await;
    (bound.unwrap(), simulation)
}

/// The minimal upstream without faults.
fn plain() -> Config {
    Config::new(vec![Arc::new(Plain { key: KEY })])
}

async fn demo() -> Sandbox {
    sandbox(plain()).await
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

async fn send(
    sandbox: &Sandbox,
    method: Method,
    path: &str,
    authorization: Option<&str>,
    body: &str,
) -> Result<Reply, hyper::Error> {
    let stream = TcpStream::connect(sandbox.addr()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let mut request = http::Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "sandbox")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    let request = request.body(Full::<Bytes>::from(body.to_owned())).unwrap();
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    connection.abort();
    Ok(Reply { status: head.status, headers: head.headers, body })
}

async fn post(sandbox: &Sandbox, form: &str) -> Result<Reply, hyper::Error> {
    within(send(sandbox, Method::POST, &path(RESOURCE), Some(&bearer(KEY)), form)).await
}

async fn ask(sandbox: &Sandbox) -> Reply {
    post(sandbox, FORM).await.unwrap()
}

/// Sends a request to the control API.
async fn control(sandbox: &Sandbox, method: Method, path: &str, body: &str) -> Reply {
    within(send(sandbox, method, path, None, body)).await.unwrap()
}

fn fault(text: &str) -> Fault {
    text.parse().unwrap()
}

/// Waits until `met` holds for the counters.
async fn until(sandbox: &Sandbox, met: impl Fn(&Counters) -> bool) {
    within(async {
        while !met(&sandbox.counters()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

async fn ask_raw(stream: &mut TcpStream) {
    let (path, bearer) = (path(RESOURCE), bearer(KEY));
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: sandbox\r\nAuthorization: {bearer}\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn endpoint_gets_whole_requests_and_its_responses_are_sent() {
    let sandbox = demo().await;
    let reply = ask(&sandbox).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    let credential = reply.credential();
    assert_eq!(
        reply.json(),
        json!({
            "url": format!("http://{}/grants/{RESOURCE}", sandbox.addr()),
            "key": KEY,
            "credential": credential,
            "now": reply.json()["now"],
            "life": 60,
        })
    );
    assert!((NOW..NOW + 100).contains(&reply.json()["now"].as_i64().unwrap()));
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(reply.headers["in-flight"], "1");
    assert_ne!(ask(&sandbox).await.credential(), credential);
    let log = sandbox.requests();
    assert_eq!(log.len(), 2);
    assert_eq!(log[0].credential.as_deref(), Some(&*credential));
    assert_eq!(log[0].resource.as_deref(), Some(RESOURCE));
    assert_eq!((log[0].note("ttl"), log[0].status), (Some("60"), Some(201)));
    assert!(!format!("{log:?}").contains(&credential));

    let much = "a".repeat(65 * 1024);
    let reply = post(&sandbox, &much).await.unwrap();
    assert_eq!((reply.status, reply.json()), (StatusCode::PAYLOAD_TOO_LARGE, json!({"no": 413})));
}

#[tokio::test]
async fn equal_seeds_give_equal_grants() {
    let first = ask(&demo().await).await.credential();
    assert_eq!(ask(&demo().await).await.credential(), first);
    let other = sandbox(Config { seed: 1, ..plain() }).await;
    assert_ne!(ask(&other).await.credential(), first);
}

#[tokio::test]
async fn endpoint_that_recognizes_most_responds() {
    let endpoint = |key| Arc::new(Plain { key }) as Arc<dyn Endpoint>;
    let config = Config::new(vec![endpoint("one"), endpoint("two"), endpoint("three")]);
    let sandbox = sandbox(config).await;
    let ask = async |path: &str, key: Option<&str>| {
        let authorization = key.map(bearer);
        let sent = send(&sandbox, Method::POST, path, authorization.as_deref(), "");
        let reply = within(sent).await.unwrap();
        let key = reply.json()["key"].as_str().map(str::to_owned);
        (reply.status.as_u16(), key, reply.headers["key"].to_str().unwrap().to_owned())
    };
    let mut seen = Vec::new();
    for key in [Some("one"), Some("three"), Some("two"), Some("other"), None] {
        let (status, key, by) = ask(&path(RESOURCE), key).await;
        seen.push(format!("{status} {} {by}", key.unwrap_or_default()));
    }
    assert_eq!(seen, ["201 one one", "201 three three", "201 two two", "401  one", "401  one"]);
    // A named credential takes precedence over a foreign one, and a credential without a path over
    // neither.
    assert_eq!(ask(&path(RESOURCE), Some("two but wrong")).await.2, "two");
    assert_eq!(ask("/elsewhere", Some("three")).await, (404, None, "three".to_owned()));
    assert_eq!(ask("/elsewhere", None).await.2, "one");
    assert_eq!(sandbox.counters().unauthorized, 4);
}

#[tokio::test]
async fn sandbox_without_endpoints_responds_404() {
    let sandbox = sandbox(Config::new(Vec::new())).await;
    assert_eq!(ask(&sandbox).await.status, StatusCode::NOT_FOUND);
    assert_eq!(sandbox.requests()[0].resource, None);
    assert_eq!(control(&sandbox, Method::GET, "/sandbox/counters", "").await.status, 200);
}

#[tokio::test]
async fn fault_unknown_to_all_endpoints_is_refused() {
    let config = Config { faults: vec![fault("body=grant-null,times=1")], ..plain() };
    let bound = Sandbox::bind("127.0.0.1:0".parse().unwrap(), config, Clock::system()).await;
    let error = bound.unwrap_err().to_string();
    let known = "must be one of empty, truncated, cut, slow, huge, endless, gzip;";
    assert!(
        error.starts_with(&format!("the fault body=grant-null,times=1: body {known}")),
        "{error}"
    );
    let sandbox = demo().await;
    let put = |body: &'static str| control(&sandbox, Method::PUT, "/sandbox/fault", body);
    let reply = put("body=grant-null").await;
    assert!(reply.json()["error"].as_str().unwrap().contains(known), "{}", reply.json());
    assert_eq!(put("{\"body\": \"grant-null\"}").await.status, 400);
    assert_eq!(put("body=empty").await.status, 204);
    assert_eq!(ask(&sandbox).await.body, "{}");
    assert_eq!(sandbox.counters().granted, 0);
    sandbox.set_fault(fault("body=grant-null"));
    assert_eq!(ask(&sandbox).await.status, StatusCode::CREATED);
    assert_eq!(sandbox.counters().faults, 1);
}

#[tokio::test]
async fn requests_above_the_concurrency_limit_are_refused() {
    let sandbox = sandbox(Config { max_concurrent: 1, ..plain() }).await;
    sandbox.set_fault(fault("hang,times=1"));
    let asker = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { ask(&sandbox).await.status }
    });
    until(&sandbox, |counters| counters.faults == 1).await;
    let reply = ask(&sandbox).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(reply.json(), json!({"no": 429}));
    assert_eq!(reply.headers["in-flight"], "2");
    assert_eq!(sandbox.counters().throttled, 1);
    asker.abort();
    until(&sandbox, |counters| counters.in_flight == 0).await;
    assert_eq!(ask(&sandbox).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn it_stops_on_request_or_with_its_last_handle() {
    let sandbox = demo().await;
    let addr = sandbox.addr();
    assert_eq!(sandbox.base_url(), format!("http://{addr}").as_str());
    sandbox.set_fault(fault("hang"));
    let mut stream = TcpStream::connect(addr).await.unwrap();
    ask_raw(&mut stream).await;
    until(&sandbox, |counters| counters.faults == 1).await;
    let other = sandbox.clone();
    drop(sandbox);
    assert_eq!(other.counters().in_flight, 1);
    other.stop();
    // All connections are closed, including hanging ones.
    assert!(matches!(within(stream.read(&mut [0; 16])).await, Ok(0) | Err(_)));
    within(async { while TcpStream::connect(addr).await.is_ok() {} }).await;

    let sandbox = demo().await;
    let addr = sandbox.addr();
    drop(sandbox);
    within(async { while TcpStream::connect(addr).await.is_ok() {} }).await;
}

#[tokio::test]
async fn it_listens_on_loopback_only() {
    let bound = Sandbox::bind("0.0.0.0:0".parse().unwrap(), plain(), Clock::system()).await;
    assert_eq!(bound.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}
