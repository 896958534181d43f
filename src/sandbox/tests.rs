use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::{
    clock::WallTime,
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
    let (clock, _) = Clock::simulated(WallTime::from_unix_seconds(NOW));
    Sandbox::bind("127.0.0.1:0".parse().unwrap(), config, clock).await.unwrap()
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
    assert_eq!(log[0].path, wire::path(DEMO_RESOURCE));
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
async fn a_status_comes_with_its_documented_body() {
    let sandbox = demo().await;
    let missing = format!(
        "The requested resource /PlayerStreamers/{DEMO_RESOURCE}/PlaybackGrant was not found"
    );
    for (status, code, message) in [
        (400, 20001, "Bad request"),
        (401, 20003, "Authenticate"),
        (403, 20403, "Forbidden"),
        (404, 20404, &*missing),
        (429, 20429, "Too Many Requests"),
        (500, 20500, "An internal server error has occurred"),
        (503, 20503, "Service Unavailable"),
    ] {
        sandbox.set_fault(fault(&format!("status={status}")));
        let reply = ask(&sandbox).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.json(), error_body(code, message, status));
        assert!(!reply.headers.contains_key(header::RETRY_AFTER));
    }
    sandbox.set_fault(fault("status=502"));
    assert_eq!(ask(&sandbox).await.headers["content-type"], "text/html");
    sandbox.set_fault(fault("status=307"));
    assert!(ask(&sandbox).await.headers.contains_key("location"));
    sandbox.set_fault(fault("status=500,body-text="));
    assert!(ask(&sandbox).await.body.is_empty());
    sandbox.set_fault(fault("status=204,body-text=x"));
    assert_eq!(ask(&sandbox).await.status, StatusCode::NO_CONTENT);
    sandbox.set_fault(fault("status=200"));
    let reply = ask(&sandbox).await;
    assert_eq!((reply.status, reply.life()), (StatusCode::OK, 60));
    sandbox.clear_faults();
    assert_eq!(ask(&sandbox).await.status, StatusCode::CREATED);
    let counters = sandbox.counters();
    assert_eq!((counters.requests, counters.granted, counters.faults), (13, 2, 12));
    assert_eq!((counters.throttled, counters.refused[&429], counters.refused[&500]), (1, 1, 2));
}

#[tokio::test]
async fn retry_after_is_any_text() {
    let sandbox = demo().await;
    for text in ["5", "soon", "-1", "", "Sun, 06 Nov 1994 08:49:37 GMT"] {
        sandbox.set_fault(fault(&format!("status=429,retry-after={}", json!(text))));
        let reply = ask(&sandbox).await;
        assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(reply.headers[header::RETRY_AFTER], text);
    }
}

#[tokio::test]
async fn a_bad_body_holds_no_grant_of_what_was_asked() {
    let sandbox = demo().await;
    let other = format!("VJ{}", "f".repeat(32));
    for (name, pointer, value) in [
        ("grant-null", "/grant", Some(Value::Null)),
        ("grant-string", "/grant", Some("<the playback grant>".into())),
        ("grant-missing", "/grant", None),
        ("wrong-sid", "/sid", Some(other.clone().into())),
        ("wrong-streamer", "/grant/playerStreamerSid", Some(other.into())),
        ("wrong-account", "/account_sid", Some(format!("AC{}", "f".repeat(32)).into())),
    ] {
        sandbox.set_fault(fault(&format!("body={name}")));
        let reply = ask(&sandbox).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{name}");
        assert_eq!(reply.json().pointer(pointer), value.as_ref(), "{name}");
    }
    sandbox.set_fault(fault("body=truncated"));
    let reply = ask(&sandbox).await;
    let error = serde_json::from_slice::<Value>(&reply.body).unwrap_err();
    assert!(error.is_eof(), "{error}");
    sandbox.set_fault(fault("body-text=[1]"));
    assert_eq!(ask(&sandbox).await.body, "[1]");
    assert_eq!(sandbox.counters().granted, 0);
}

#[tokio::test]
async fn a_shorter_life_is_in_the_token_only() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("shorter-life=20s"));
    assert_eq!(ask(&sandbox).await.life(), 40);
    sandbox.set_fault(fault("shorter-life=90s"));
    assert_eq!(ask(&sandbox).await.life(), 0);
}

#[tokio::test]
async fn latency_holds_a_normal_answer_back() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("latency=20ms"));
    let start = tokio::time::Instant::now();
    assert_eq!(ask(&sandbox).await.status, StatusCode::CREATED);
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[tokio::test]
async fn a_hang_lasts_until_the_client_goes() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("hang,times=1"));
    let asker = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { ask(&sandbox).await.status }
    });
    until(&sandbox, |counters| counters.faults == 1).await;
    assert_eq!(ask(&sandbox).await.headers["twilio-concurrent-requests"], "2");
    assert!(!asker.is_finished());
    assert_eq!(sandbox.counters().in_flight, 1);
    asker.abort();
    until(&sandbox, |counters| counters.in_flight == 0).await;
    let counters = sandbox.counters();
    assert_eq!((counters.unanswered, counters.max_in_flight), (1, 2));
}

#[tokio::test]
async fn a_reset_is_a_tcp_reset() {
    let sandbox = demo().await;
    sandbox.set_fault(fault("reset,times=1"));
    let mut stream = TcpStream::connect(sandbox.addr()).await.unwrap();
    ask_raw(&mut stream).await;
    let error = within(stream.read(&mut [0; 16])).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(sandbox.counters().unanswered, 1);
    assert_eq!(ask(&sandbox).await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn a_fault_is_for_its_resource_and_lasts_its_times() {
    let mut config = Config::demo();
    let other = PlayerStreamerSid::parse(&format!("VJ{}", "0".repeat(32))).unwrap();
    config.faults = vec![
        fault(&format!("status=404,resource={other}")),
        fault("status=503,times=1"),
        fault("status=500,times=1"),
    ];
    let sandbox = sandbox(config).await;
    assert_eq!(ask(&sandbox).await.status, 503);
    assert_eq!(ask(&sandbox).await.status, 500);
    assert_eq!(ask(&sandbox).await.status, 201);
    let basic = basic(DEMO_API_KEY_SID, DEMO_API_KEY_SECRET);
    let path = wire::path(other.as_str());
    let reply = within(send(&sandbox, Method::POST, &path, Some(&basic), FORM)).await.unwrap();
    assert_eq!(reply.status, 404);
}

#[tokio::test]
async fn faults_are_switched_and_counters_read_over_http() {
    let sandbox = demo().await;
    let put = |body: &'static str| control(&sandbox, Method::PUT, "/sandbox/fault", body);
    assert_eq!(put("status=503\n").await.status, StatusCode::NO_CONTENT);
    assert_eq!(ask(&sandbox).await.status, 503);
    assert_eq!(put(r#"{"status": 429, "retry-after": 7, "times": 1}"#).await.status, 204);
    control(&sandbox, Method::POST, "/sandbox/fault", "body=grant-null").await;
    assert_eq!(ask(&sandbox).await.headers[header::RETRY_AFTER], "7");
    assert_eq!(ask(&sandbox).await.json()["grant"], Value::Null);
    let reply = put("stauts=503").await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert!(reply.json()["error"].as_str().unwrap().starts_with("the fault: \"stauts\""));
    control(&sandbox, Method::DELETE, "/sandbox/fault", "").await;
    assert_eq!(ask(&sandbox).await.status, 201);

    let reply = control(&sandbox, Method::GET, "/sandbox/counters", "").await;
    assert_eq!(
        reply.json(),
        json!({
            "connections": sandbox.counters().connections,
            "requests": 4,
            "granted": 1,
            "refused": {"429": 1, "503": 1},
            "unauthorized": 0,
            "throttled": 1,
            "faults": 3,
            "unanswered": 0,
            "in_flight": 0,
            "max_in_flight": 1,
        })
    );
    for (method, path, status) in [
        (Method::GET, "/sandbox/other", 404),
        (Method::GET, "/sandbox/fault", 405),
        (Method::DELETE, "/sandbox/counters", 405),
    ] {
        assert_eq!(control(&sandbox, method, path, "").await.status, status);
    }
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

async fn ask_raw(stream: &mut TcpStream) {
    let path = wire::path(DEMO_RESOURCE);
    let head = format!("POST {path} HTTP/1.1\r\nHost: sandbox\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn it_listens_on_loopback_only() {
    let bound = Sandbox::bind("0.0.0.0:0".parse().unwrap(), Config::demo(), Clock::system()).await;
    assert_eq!(bound.unwrap_err().kind(), io::ErrorKind::InvalidInput);
}
