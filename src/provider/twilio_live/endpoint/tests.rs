//! The responses of the emulated endpoint, without a connection.

use std::sync::Arc;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use http::{Method, header};
use serde_json::{Value, json};

use super::*;
use crate::{
    clock::{Clock, WallTime},
    provider::twilio_live::{
        DEMO_ACCOUNT_SID, DEMO_API_KEY_SECRET, DEMO_API_KEY_SID, DEMO_RESOURCE, demo::demo,
    },
    sandbox::Random,
};

const NOW: i64 = 1_700_000_000;
const FORM: &str = "Ttl=60&AccessControlAllowOrigin=https%3A%2F%2Fwww.example.com";

fn demo_endpoint() -> Arc<dyn Endpoint> {
    demo().endpoint().unwrap()
}

fn basic_of(user: &str, secret: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{secret}")))
}

fn request(method: Method, path: &str, authorization: Option<&str>, form: &str) -> Request<Bytes> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(authorization) = authorization {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    request.body(Bytes::copy_from_slice(form.as_bytes())).unwrap()
}

/// A request of the demo's client.
fn posted(form: &str) -> Request<Bytes> {
    let basic = basic_of(DEMO_API_KEY_SID, DEMO_API_KEY_SECRET);
    request(Method::POST, &wire::path(DEMO_RESOURCE), Some(&basic), form)
}

/// The response of the demo's endpoint with this flaw.
fn answer(request: &Request<Bytes>, flaw: Flaw<'_>) -> Answer {
    let endpoint = demo_endpoint();
    let (now, base) = (WallTime::from_unix_seconds(NOW), "http://sandbox");
    let mut random = Random::with_seed(0);
    endpoint.answer(request, &mut AnswerContext { now, base, random: &mut random, flaw })
}

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap()
}

fn granted(form: &str, flaw: Flaw<'_>) -> Value {
    let answer = answer(&posted(form), flaw);
    assert_eq!(answer.status, StatusCode::CREATED, "{form}");
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/json");
    body(&answer)
}

fn url(granted: &Value) -> &str {
    granted["grant"]["playbackUrl"].as_str().unwrap()
}

fn claims(granted: &Value) -> Value {
    let claims = url(granted).split('.').rev().nth(1).unwrap();
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap()
}

/// The life that the token states, by the sandbox's clock.
fn life(granted: &Value) -> i64 {
    let claims = claims(granted);
    assert_eq!(claims["iat"], NOW);
    claims["exp"].as_i64().unwrap() - NOW
}

fn error_body(code: u32, message: &str, status: u16) -> Value {
    json!({
        "code": code,
        "message": message,
        "more_info": format!("https://www.twilio.com/docs/errors/{code}"),
        "status": status,
    })
}

#[test]
fn grant_has_the_documented_fields() {
    let granted = granted(FORM, Flaw::None);
    let path = wire::path(DEMO_RESOURCE);
    assert_eq!(
        granted,
        json!({
            "sid": DEMO_RESOURCE,
            "url": format!("http://sandbox{path}"),
            "account_sid": DEMO_ACCOUNT_SID,
            "date_created": "2023-11-14T22:13:20Z",
            "grant": {
                "playbackUrl": url(&granted),
                "playerStreamerSid": DEMO_RESOURCE,
                "requestCredentials": null,
            },
        })
    );
}

#[test]
fn playback_url_contains_a_token() {
    let granted = granted(FORM, Flaw::None);
    let (before, token) = url(&granted).split_once("?token=").unwrap();
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
    let claims = claims(&granted);
    let arn = "arn:aws:ivs:us-east-1:123456789012:channel/0123456789ab";
    assert_eq!(claims["aws:channel-arn"], arn);
    assert_eq!(claims["aws:access-control-allow-origin"], "https://www.example.com");
    assert_eq!(life(&granted), 60);
}

#[test]
fn ttl_defaults_to_15_and_is_1_to_60() {
    for (form, wanted) in [("", 15), ("Ttl=1", 1), ("Ttl=60", 60), ("Other=1", 15)] {
        let granted = granted(form, Flaw::None);
        assert_eq!(life(&granted), wanted, "{form}");
        assert!(claims(&granted).get("aws:access-control-allow-origin").is_none());
    }
    for form in ["Ttl=61", "Ttl=0", "Ttl=-1", "Ttl=", "Ttl=1.5", "Ttl=soon"] {
        let answer = answer(&posted(form), Flaw::None);
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{form}");
        assert_eq!(body(&answer), error_body(20001, "Invalid Ttl", 400), "{form}");
    }
    for (by, left) in [(20, 40), (90, 0)] {
        assert_eq!(life(&granted(FORM, Flaw::ShorterLife(Duration::from_secs(by)))), left);
    }
}

#[test]
fn only_the_known_key_and_secret_are_accepted() {
    let unknown = "Authentication Error - invalid username";
    for (authorization, message, credential) in [
        (None, "Authenticate", Credential::Foreign),
        (Some("Bearer abc".to_owned()), "Authenticate", Credential::Foreign),
        (Some("Basic ???".to_owned()), "Authenticate", Credential::Foreign),
        (Some(basic_of(DEMO_API_KEY_SID, "wrong")), "Authenticate", Credential::Named),
        (Some(basic_of(DEMO_API_KEY_SID, "")), "Authenticate", Credential::Named),
        (Some(basic_of(DEMO_ACCOUNT_SID, DEMO_API_KEY_SECRET)), unknown, Credential::Foreign),
    ] {
        let path = wire::path(DEMO_RESOURCE);
        let request = request(Method::POST, &path, authorization.as_deref(), FORM);
        let answer = answer(&request, Flaw::None);
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(body(&answer), error_body(20003, message, 401));
        assert!(answer.headers.contains_key(header::WWW_AUTHENTICATE));
        let endpoint = demo_endpoint();
        assert_eq!(endpoint.recognize(&request).credential, credential);
    }
    let demo = format!("{:?}", demo_endpoint());
    assert!(demo.contains(DEMO_API_KEY_SID) && !demo.contains(DEMO_API_KEY_SECRET), "{demo}");
}

#[test]
fn only_post_to_a_player_streamer_is_accepted() {
    let basic = basic_of(DEMO_API_KEY_SID, DEMO_API_KEY_SECRET);
    let short = wire::path("VJ0123");
    for path in ["/", "/v1/PlayerStreamers", &short, "/v1/PlayerStreamers//PlaybackGrant/more"] {
        let answer = answer(&request(Method::POST, path, Some(&basic), FORM), Flaw::None);
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(body(&answer)["code"], 20404);
    }
    let upper = wire::path(&format!("VJ{}", "A".repeat(32)));
    let answered = answer(&request(Method::POST, &upper, Some(&basic), ""), Flaw::None);
    assert_eq!(answered.status, StatusCode::CREATED);
    let path = wire::path(DEMO_RESOURCE);
    let answer = answer(&request(Method::GET, &path, Some(&basic), ""), Flaw::None);
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(answer.headers[header::ALLOW], "POST");
    assert_eq!(body(&answer), error_body(20004, "Method not allowed", 405));
}

#[test]
fn status_has_its_documented_body() {
    let endpoint = demo_endpoint();
    let missing = format!(
        "The requested resource /PlayerStreamers/{DEMO_RESOURCE}/PlaybackGrant was not found"
    );
    let refusal =
        |status: u16| endpoint.refusal(&posted(FORM), StatusCode::from_u16(status).unwrap());
    for (status, code, message) in [
        (400, 20001, "Bad request"),
        (401, 20003, "Authenticate"),
        (403, 20403, "Forbidden"),
        (404, 20404, &*missing),
        (405, 20004, "Method not allowed"),
        (429, 20429, "Too Many Requests"),
        (500, 20500, "An internal server error has occurred"),
        (503, 20503, "Service Unavailable"),
    ] {
        let answer = refusal(status);
        assert_eq!(answer.status, status);
        assert_eq!(body(&answer), error_body(code, message, status));
    }
    assert_eq!(refusal(502).headers[header::CONTENT_TYPE], "text/html");
    assert!(refusal(307).headers.contains_key(header::LOCATION));
}

#[test]
fn bad_body_has_no_grant_for_the_request() {
    let other = format!("VJ{}", "f".repeat(32));
    for (name, pointer, value) in [
        ("grant-null", "/grant", Some(Value::Null)),
        ("grant-string", "/grant", Some("<the playback grant>".into())),
        ("grant-missing", "/grant", None),
        ("wrong-sid", "/sid", Some(other.clone().into())),
        ("wrong-streamer", "/grant/playerStreamerSid", Some(other.into())),
        ("wrong-account", "/account_sid", Some(format!("AC{}", "f".repeat(32)).into())),
    ] {
        assert!(grant::BODIES.contains(&name));
        let granted = granted(FORM, Flaw::Body(name));
        assert_eq!(granted.pointer(pointer), value.as_ref(), "{name}");
    }
    let text = |name| {
        let answer = answer(&posted(FORM), Flaw::Body(name));
        String::from_utf8(answer.body.into()).unwrap()
    };
    let duplicate = text("duplicate");
    let grants: Vec<_> = duplicate.split("\"grant\":").skip(1).collect();
    assert_eq!(grants.len(), 2);
    assert!(grants[0].contains(&"f".repeat(32)) && grants[1].contains(DEMO_RESOURCE));
    let nested = text("nested");
    assert!(nested.contains(&"[".repeat(10_000)) && nested.contains(&"]".repeat(10_000)));
}

#[test]
fn log_receives_resource_and_form() {
    let endpoint = demo_endpoint();
    let some = |text: &str| Some(text.to_owned());
    let wanted = Recognized {
        path: true,
        credential: Credential::Proven,
        resource: some(DEMO_RESOURCE),
        notes: vec![("ttl", some("60")), ("allow_origin", some("https://www.example.com"))],
    };
    assert_eq!(endpoint.recognize(&posted(FORM)), wanted);
    let short = request(Method::POST, &wire::path("VJ0"), None, "Ttl=soon");
    let recognized = endpoint.recognize(&short);
    assert_eq!((recognized.path, recognized.resource), (true, some("VJ0")), "well-formed or not");
    assert_eq!(recognized.notes, [("ttl", some("soon")), ("allow_origin", None)]);
    let elsewhere = request(Method::POST, "/v1/PlayerStreamers", None, "");
    let nothing =
        Recognized { notes: vec![("ttl", None), ("allow_origin", None)], ..Recognized::default() };
    assert_eq!(endpoint.recognize(&elsewhere), nothing);
    let read = request(Method::GET, &wire::path(DEMO_RESOURCE), None, "");
    assert_eq!(endpoint.recognize(&read).resource, None, "it requests no grant");
}

#[test]
fn all_responses_have_the_upstreams_headers() {
    let endpoint = demo_endpoint();
    let mut headers = HeaderMap::new();
    let (mut random, held) = (Random::with_seed(0), Duration::from_millis(1_500));
    endpoint.add_headers(
        &mut headers,
        &mut HeaderContext {
            now: Clock::system().now().wall,
            in_flight: 2,
            held,
            random: &mut random,
        },
    );
    assert_eq!(headers["twilio-concurrent-requests"], "2");
    assert_eq!(headers["twilio-request-duration"], "1.500");
    let id = headers["twilio-request-id"].to_str().unwrap();
    assert!(id.starts_with("RQ") && id.len() == 34, "{id}");
}
