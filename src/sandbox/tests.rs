//! The sandbox as its callers see it.

mod bodies;
mod docs;
mod faults;
mod played;
mod sample;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::{
    clock::{Simulation, WallTime},
    provider::twilio_live::{ids::PlayerStreamerSid, wire},
};

const NOW: i64 = 1_700_000_000;
const FORM: &str = "Ttl=60&AccessControlAllowOrigin=https%3A%2F%2Fwww.example.com";

struct Reply {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn url(&self) -> String {
        self.json()["grant"]["playbackUrl"].as_str().unwrap().to_owned()
    }

    fn claims(&self) -> Value {
        let url = self.url();
        let claims = url.split('.').rev().nth(1).unwrap();
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
    }

    /// The life that the token says it has, by the sandbox's clock.
    fn life(&self) -> i64 {
        let claims = self.claims();
        let issued = claims["iat"].as_i64().unwrap();
        assert!((NOW..NOW + 100).contains(&issued), "{issued}");
        claims["exp"].as_i64().unwrap() - issued
    }
}

/// Fails a test that hangs.
async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("the test hangs")
}

async fn sandbox(config: Config) -> Sandbox {
    clocked(config).await.0
}

/// A sandbox with a hand on its clock.
async fn clocked(config: Config) -> (Sandbox, Arc<Simulation>) {
    let (clock, simulation) = Clock::simulated(WallTime::from_unix_seconds(NOW));
    let bound = Sandbox::bind("127.0.0.1:0".parse().unwrap(), config, clock).await;
    (bound.unwrap(), simulation)
}

async fn demo() -> Sandbox {
    sandbox(Config::demo()).await
}

fn basic(user: &str, secret: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{secret}")))
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
    let basic = basic(DEMO_API_KEY_SID, DEMO_API_KEY_SECRET);
    within(send(sandbox, Method::POST, &wire::path(DEMO_RESOURCE), Some(&basic), form)).await
}

async fn ask(sandbox: &Sandbox) -> Reply {
    post(sandbox, FORM).await.unwrap()
}

/// Sends to the sandbox's own side.
async fn control(sandbox: &Sandbox, method: Method, path: &str, body: &str) -> Reply {
    within(send(sandbox, method, path, None, body)).await.unwrap()
}

fn fault(text: &str) -> Fault {
    text.parse().unwrap()
}

fn error_body(code: u32, message: &str, status: u16) -> Value {
    json!({
        "code": code,
        "message": message,
        "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
        "status": status,
    })
}

/// Waits until `met` holds of the counters.
async fn until(sandbox: &Sandbox, met: impl Fn(&Counters) -> bool) {
    within(async {
        while !met(&sandbox.counters()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

async fn ask_raw(stream: &mut TcpStream) {
    let path = wire::path(DEMO_RESOURCE);
    let basic = basic(DEMO_API_KEY_SID, DEMO_API_KEY_SECRET);
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: sandbox\r\nAuthorization: {basic}\r\nContent-Length: 0\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_grant_has_the_fields_of_the_wire() {
    let sandbox = demo().await;
    let reply = ask(&sandbox).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    let url = reply.url();
    let created = reply.json()["date_created"].clone();
    assert!(created.as_str().unwrap().starts_with("2023-11-14T22:1"), "{created}");
    assert_eq!(
        reply.json(),
        json!({
            "sid": DEMO_RESOURCE,
            "url": format!(
                "http://{}/v1/PlayerStreamers/{DEMO_RESOURCE}/PlaybackGrant", sandbox.addr()
            ),
            "account_sid": DEMO_ACCOUNT_SID,
            "date_created": created,
            "grant": {
                "playbackUrl": url,
                "playerStreamerSid": DEMO_RESOURCE,
                "requestCredentials": null,
            },
        })
    );
    assert_eq!(reply.headers["content-type"], "application/json");
    assert_eq!(reply.headers["twilio-concurrent-requests"], "1");
    let id = reply.headers["twilio-request-id"].to_str().unwrap();
    assert!(id.starts_with("RQ") && id.len() == 34, "{id}");
    assert!(reply.headers["twilio-request-duration"].to_str().unwrap().parse::<f64>().is_ok());
}

#[tokio::test]
async fn each_playback_url_holds_a_fresh_token() {
    let sandbox = demo().await;
    let reply = ask(&sandbox).await;
    let url = reply.url();
    let (before, token) = url.split_once("?token=").unwrap();
    assert_eq!(
        before,
        "https://0123456789ab.us-east-1.playback.live-video.net/api/video/v1/\
         us-east-1.123456789012.channel.0123456789ab.m3u8"
    );
    let parts: Vec<_> =
        token.split('.').map(|part| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).collect();
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[0], br#"{"alg":"ES384","typ":"JWT"}"#);
    assert_eq!(parts[2].len(), 96);
    let claims = reply.claims();
    assert_eq!(
        claims["aws:channel-arn"],
        "arn:aws:ivs:us-east-1:123456789012:channel/0123456789ab"
    );
    assert_eq!(claims["aws:access-control-allow-origin"], "https://www.example.com");
    assert_eq!(reply.life(), 60);
    assert_ne!(ask(&sandbox).await.url(), url);
    let log = sandbox.requests();
    assert_eq!(log.len(), 2);
    assert_eq!(log[0].playback_url.as_deref(), Some(&*url));
    assert_eq!(log[0].resource.as_deref(), Some(DEMO_RESOURCE));
    assert_eq!((log[0].ttl.as_deref(), log[0].status), (Some("60"), Some(201)));
    assert_eq!(log[0].allow_origin.as_deref(), Some("https://www.example.com"));
    assert!(!format!("{log:?}").contains(token));
}

#[tokio::test]
async fn ttl_is_15_unless_said_and_1_to_60() {
    let sandbox = demo().await;
    for (form, life) in [("", 15), ("Ttl=1", 1), ("Ttl=60", 60), ("Other=1", 15)] {
        let reply = post(&sandbox, form).await.unwrap();
        let claims = reply.claims();
        assert_eq!(reply.life(), life, "{form}");
        assert!(claims.get("aws:access-control-allow-origin").is_none());
    }
    for form in ["Ttl=61", "Ttl=0", "Ttl=-1", "Ttl=", "Ttl=1.5", "Ttl=soon"] {
        let reply = post(&sandbox, form).await.unwrap();
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{form}");
        assert_eq!(reply.json(), error_body(20001, "Invalid Ttl", 400), "{form}");
    }
    let long = "a".repeat(65 * 1024);
    assert_eq!(post(&sandbox, &long).await.unwrap().status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn only_a_known_key_and_secret_get_in() {
    let sandbox = demo().await;
    let wrong = [
        None,
        Some("Bearer abc".to_owned()),
        Some("Basic ???".to_owned()),
        Some(basic(DEMO_API_KEY_SID, "wrong")),
        Some(basic(DEMO_API_KEY_SID, "")),
    ];
    let path = wire::path(DEMO_RESOURCE);
    for authorization in &wrong {
        let sent = send(&sandbox, Method::POST, &path, authorization.as_deref(), FORM);
        let reply = within(sent).await.unwrap();
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED);
        assert_eq!(reply.json(), error_body(20003, "Authenticate", 401));
    }
    let account = basic(DEMO_ACCOUNT_SID, DEMO_API_KEY_SECRET);
    let reply = within(send(&sandbox, Method::POST, &path, Some(&account), FORM)).await.unwrap();
    let message = "Authentication Error - invalid username";
    assert_eq!(reply.json(), error_body(20003, message, 401));
    assert_eq!(sandbox.counters().unauthorized, 6);
    assert!(!format!("{:?}", Config::demo()).contains(DEMO_API_KEY_SECRET));
}

#[tokio::test]
async fn each_account_gets_grants_of_its_own() {
    let mut config = Config::demo();
    let (account_sid, key) = (format!("AC{}", "f".repeat(32)), format!("SK{}", "f".repeat(32)));
    config.accounts.push(Account {
        account_sid: account_sid.clone(),
        api_key_sid: key.clone(),
        api_key_secret: "another".into(),
    });
    let sandbox = sandbox(config).await;
    let other = basic(&key, "another");
    let path = wire::path(DEMO_RESOURCE);
    let reply = within(send(&sandbox, Method::POST, &path, Some(&other), FORM)).await.unwrap();
    assert_eq!(reply.json()["account_sid"], account_sid);
    assert_eq!(ask(&sandbox).await.json()["account_sid"], DEMO_ACCOUNT_SID);
}

#[tokio::test]
async fn only_a_player_streamer_is_found_and_only_posted_to() {
    let sandbox = demo().await;
    let basic = basic(DEMO_API_KEY_SID, DEMO_API_KEY_SECRET);
    let short = wire::path("VJ0123");
    for path in ["/", "/v1/PlayerStreamers", &short, "/v1/PlayerStreamers//PlaybackGrant/more"] {
        let sent = send(&sandbox, Method::POST, path, Some(&basic), FORM);
        let reply = within(sent).await.unwrap();
        assert_eq!(reply.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(reply.json()["code"], 20404);
    }
    let upper = wire::path(&format!("VJ{}", "A".repeat(32)));
    let reply = within(send(&sandbox, Method::POST, &upper, Some(&basic), "")).await.unwrap();
    assert_eq!(reply.status, StatusCode::CREATED);
    let path = wire::path(DEMO_RESOURCE);
    let reply = within(send(&sandbox, Method::GET, &path, Some(&basic), "")).await.unwrap();
    assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(reply.json(), error_body(20004, "Method not allowed", 405));
}

#[tokio::test]
async fn beyond_the_ceiling_requests_are_refused() {
    let sandbox = sandbox(Config { max_concurrent: 1, ..Config::demo() }).await;
    sandbox.set_fault(fault("hang,times=1"));
    let asker = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { ask(&sandbox).await.status }
    });
    until(&sandbox, |counters| counters.faults == 1).await;
    let reply = ask(&sandbox).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(reply.json(), error_body(20429, "Too Many Requests", 429));
    assert_eq!(reply.headers["twilio-concurrent-requests"], "2");
    assert_eq!(sandbox.counters().throttled, 1);
    asker.abort();
    until(&sandbox, |counters| counters.in_flight == 0).await;
    assert_eq!(ask(&sandbox).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn it_ends_with_its_last_handle_or_when_told() {
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
    // Its connections are cut, hanging or not.
    assert!(matches!(within(stream.read(&mut [0; 16])).await, Ok(0) | Err(_)));
    within(async { while TcpStream::connect(addr).await.is_ok() {} }).await;

    let sandbox = demo().await;
    let addr = sandbox.addr();
    drop(sandbox);
    within(async { while TcpStream::connect(addr).await.is_ok() {} }).await;
}

#[tokio::test]
async fn it_listens_on_loopback_only() {
    let bound = Sandbox::bind("0.0.0.0:0".parse().unwrap(), Config::demo(), Clock::system()).await;
    assert_eq!(bound.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}
