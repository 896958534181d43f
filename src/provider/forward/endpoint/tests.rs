//! Each preset against its own emulated endpoint, over HTTP.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::*;
use crate::{
    clock::{Clock, WallTime},
    grant::FaultClass,
    provider::{
        Provider,
        forward::{
            presets::{ALL, Preset},
            tests::{default_life, demo_of, fetch, read},
        },
        read_token,
    },
    reading::{Jwt, View},
    sandbox::{self, Sandbox},
    source::{FetchError, Fetched, Granted, base_url::BaseUrl},
};

/// A profile, and a sandbox that emulates its upstream.
struct Fixture {
    sandbox: Sandbox,
    provider: Arc<dyn Provider>,
    resource: &'static str,
    grant_ttl: Option<Duration>,
}

impl Fixture {
    /// The profile with `lines` and `secret`, and an upstream that accepts `known`.
    async fn of(lines: &str, secret: &str, known: &str, resource: &'static str) -> Self {
        let (accepting, _) = read(lines, known).unwrap();
        let endpoint = accepting.upstream().unwrap().endpoint();
        let any = "127.0.0.1:0".parse().unwrap();
        let config = sandbox::Config::new(vec![endpoint]);
        let sandbox = Sandbox::bind(any, config, Clock::system()).await.unwrap();
        let base: BaseUrl = sandbox.base_url().to_string().parse().unwrap();
        let (requesting, grants) = read(lines, secret).unwrap();
        let provider = requesting.upstream().unwrap().replaced_by(&base);
        Self { sandbox, provider, resource, grant_ttl: default_life(&grants) }
    }

    /// A preset's demo.
    async fn preset(preset: &Preset) -> Self {
        let (lines, secret) = demo_of(preset);
        let resource = (preset.demo)().resources.first().copied().unwrap_or("default");
        Self::of(&lines, &secret, &secret, resource).await
    }

    async fn fetch(&self) -> Result<Fetched, FetchError> {
        fetch(&*self.provider, self.resource, self.grant_ttl).await
    }

    /// The result of a request under this fault.
    async fn under(&self, fault: &str) -> Result<Fetched, FetchError> {
        self.sandbox.set_fault(fault.parse().unwrap_or_else(|why| panic!("{fault}: {why}")));
        let result = self.fetch().await;
        self.sandbox.clear_faults();
        result
    }

    /// The class, reason and Retry-After of a failure.
    async fn fault(&self, fault: &str) -> (FaultClass, String, Option<Duration>) {
        refused(self.under(fault).await, fault)
    }
}

fn refused(
    result: Result<Fetched, FetchError>,
    case: &str,
) -> (FaultClass, String, Option<Duration>) {
    match result {
        Err(FetchError::Failed { fault, retry_after }) => {
            (fault.class, fault.reason.into_owned(), retry_after)
        }
        other => panic!("{case}: {other:?}"),
    }
}

fn malformed() -> (FaultClass, String, Option<Duration>) {
    (FaultClass::Transient, "MALFORMED_ANSWER".to_owned(), None)
}

/// Each preset's default life, whether the response states it, and the credential's form.
const GIVEN: [(&str, u64, bool, &str); 8] = [
    ("deepgram", 30, true, "eyJ"),
    ("azure-speech", 600, false, "eyJ"),
    ("cloudflare-turn", 86_400, false, "[{"),
    ("twilio-nts", 86_400, true, "[{"),
    ("oauth2", 3_600, true, ""),
    ("google", 3_599, true, "ya29."),
    ("github-app", 3_600, true, "ghs_"),
    ("wechat", 7_200, true, ""),
];

#[tokio::test]
async fn every_preset_receives_its_upstreams_credential() {
    assert_eq!(GIVEN.map(|(name, ..)| name), ALL.map(|preset| preset.name));
    for (preset, (name, life, is_stated, start)) in ALL.iter().zip(GIVEN) {
        let fixture = Fixture::preset(preset).await;
        let first = fixture.fetch().await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let ttl = first.granted.ttl();
        // With an expiry, the time since the response has passed.
        let least = if name == "github-app" { life - 2 } else { life };
        assert!(ttl <= Duration::from_secs(life) && ttl >= Duration::from_secs(least), "{name}");
        assert_eq!(matches!(first.granted, Granted::Stated(_)), is_stated, "{name}");
        assert!(first.content.as_str().starts_with(start), "{name}");
        if let Some(token) = Jwt::decode(first.content.as_str()) {
            let reading =
                read_token(&token, View { now: WallTime::from_unix_seconds(0), mask: None });
            assert!(reading.lines[0].text.contains("of the sandbox"), "{name}: {reading:?}");
            assert_eq!(reading.warnings, [], "{name}");
        }
        let second = fixture.fetch().await.unwrap();
        let is_same = first.mark.fingerprint == second.mark.fingerprint;
        assert_eq!(is_same, name == "wechat", "{name}: the same until shortly before its end");
        let requests = fixture.sandbox.requests();
        assert_eq!(requests[0].credential.as_deref(), Some(first.content.as_str()), "{name}");
        assert_eq!(requests[0].resource.as_deref(), Some(fixture.resource), "{name}");
        assert!(!format!("{requests:?}").contains(first.content.as_str()), "{name}");
    }
}

#[tokio::test]
async fn wrong_credential_is_a_fault_of_the_account() {
    for preset in ALL {
        let (lines, secret) = demo_of(preset);
        let wrong = match preset.name {
            // Another valid key.
            "google" | "github-app" => continue,
            _ => "another-secret",
        };
        let fixture = Fixture::of(&lines, wrong, &secret, "default").await;
        let (class, reason, _) = refused(fixture.fetch().await, preset.name);
        assert_eq!(class, FaultClass::Credential, "{}: {reason}", preset.name);
        assert_eq!(fixture.sandbox.counters().granted, 0, "{}", preset.name);
    }
}

#[tokio::test]
async fn assertion_of_another_key_or_app_is_refused() {
    let github = ALL.iter().find(|preset| preset.name == "github-app").unwrap();
    let (lines, secret) = demo_of(github);
    let fixture = Fixture::preset(github).await;
    let base: BaseUrl = fixture.sandbox.base_url().to_string().parse().unwrap();
    let another = read(&lines.replace("app_id = \"1\"", "app_id = 2"), &secret).unwrap().0;
    let another = another.upstream().unwrap().replaced_by(&base);
    let (class, reason, _) = refused(fetch(&*another, "1", None).await, "another app");
    assert_eq!((class, &*reason), (FaultClass::Credential, "HTTP_STATUS_401"));
    // An unknown installation, and a string that is not a number.
    fixture.sandbox.set_fault("status=404,resource=7".parse().unwrap());
    match fetch(&*fixture.provider, "7", None).await {
        Err(FetchError::Failed { fault, .. }) => assert!(fault.not_found, "{fault}"),
        other => panic!("{other:?}"),
    }
    match fetch(&*fixture.provider, "x", None).await {
        Err(FetchError::Failed { fault, .. }) => assert!(fault.not_found, "{fault}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_preset_classifies_every_fault() {
    for preset in ALL {
        let fixture = Fixture::preset(preset).await;
        let name = preset.name;
        for (fault, wanted) in [
            ("body=html", malformed()),
            ("body=credential-missing", malformed()),
            ("body-text=", malformed()),
            ("body-text=<html>", malformed()),
            ("body-text={}", malformed()),
            ("status=502", (FaultClass::Transient, "HTTP_STATUS_502".to_owned(), None)),
        ] {
            assert_eq!(fixture.fault(fault).await, wanted, "{name}: {fault}");
        }
        let (class, reason, wait) = fixture.fault("status=429,retry-after=7").await;
        assert_eq!(class, FaultClass::Throttled, "{name}: {reason}");
        assert_eq!(wait, Some(Duration::from_secs(7)), "{name}: {reason}");
        let (class, reason, _) = fixture.fault("status=403,retry-after=7").await;
        // WeChat refuses with status 200 and a code.
        let wanted = if name == "wechat" { FaultClass::Credential } else { FaultClass::Throttled };
        assert_eq!(class, wanted, "{name}: {reason}");
        let is_transient = fixture.fault("status=503").await.0 == FaultClass::Transient;
        assert!(is_transient, "{name}");
    }
}

#[tokio::test]
async fn exhausted_rate_limit_reports_its_reset() {
    for preset in ALL {
        let fixture = Fixture::preset(preset).await;
        let (class, reason, wait) = fixture.fault("status=429").await;
        assert_eq!(class, FaultClass::Throttled, "{}: {reason}", preset.name);
        let is_reported = wait.is_some_and(|wait| (55..=60).contains(&wait.as_secs()));
        assert_eq!(is_reported, preset.name == "github-app", "{}: {wait:?}", preset.name);
    }
}

#[tokio::test]
async fn stated_life_is_shorter_if_the_response_says_so() {
    for (preset, (name, life, is_stated, _)) in ALL.iter().zip(GIVEN) {
        let fixture = Fixture::preset(preset).await;
        let zero = fixture.under("body=life-zero").await;
        let shorter = fixture.under("shorter-life=20s").await.unwrap().granted.ttl();
        // Azure's response does not state the life, but its token is a JWT that does.
        if is_stated || name == "azure-speech" {
            let left = Duration::from_secs(life - 20);
            assert!(shorter <= left && shorter + Duration::from_secs(2) > left, "{name}");
        } else {
            assert_eq!(shorter, Duration::from_secs(life), "{name}: it says nothing of it");
        }
        if is_stated {
            assert_eq!(refused(zero, name), malformed(), "{name}");
        } else {
            assert!(zero.is_ok(), "{name}");
        }
    }
}

#[tokio::test]
async fn same_credential_returns_with_its_remaining_life() {
    for preset in ALL {
        let fixture = Fixture::preset(preset).await;
        let first = fixture.fetch().await.unwrap();
        let again = fixture.under("body=same-credential").await.unwrap();
        assert_eq!(first.mark.fingerprint, again.mark.fingerprint, "{}", preset.name);
        assert_eq!(first.content.as_str(), again.content.as_str(), "{}", preset.name);
        assert!(again.granted.ttl() <= first.granted.ttl(), "{}", preset.name);
    }
}

#[tokio::test]
async fn own_recipe_is_emulated_as_it_reads() {
    let lines = r#"
url = "https://api.example/v1/{resource}/token"
query = { region = "eu" }
headers = { x-key = "K {secret}" }
json = { app = "a", ttl = "{grant_ttl}" }
credential = "/data/token"
life = { until = "/data/end" }
errors = { pointer = "/code", credential = [7] }
secret_env = "S"
"#;
    let fixture = Fixture::of(lines, "s3cret", "s3cret", "room/1").await;
    let first = fixture.fetch().await.unwrap();
    assert!(first.granted.ttl() <= Duration::from_secs(60), "{first:?}");
    let request = &fixture.sandbox.requests()[0];
    assert_eq!(request.resource.as_deref(), Some("room/1"));
    assert_eq!(request.note("ttl"), Some("60"));
    let wrong = Fixture::of(lines, "wrong", "s3cret", "r").await;
    let (class, reason, _) = refused(wrong.fetch().await, "wrong");
    assert_eq!((class, &*reason), (FaultClass::Credential, "HTTP_STATUS_401"));
}

#[tokio::test]
async fn own_assertion_needs_the_profiles_key_and_claims() {
    const KEYS: &str = include_str!("../../../../tests/vectors/keys.json");
    let keys: serde_json::Value = serde_json::from_str(KEYS).unwrap();
    let lines = r#"
url = "https://api.example/{resource}/token"
headers = { authorization = "Bearer {assertion}" }
credential = "text"
life = "10m"
KEY_env = "S"
[assertion]
alg = "ALG"
ttl = "10m"
header = { kid = "key-1" }
[assertion.claims]
iss = "app"
sub = { from = "resource" }
iat = { from = "now", back = "60s" }
exp = { from = "exp" }
jti = { from = "uuid" }
"context.app" = { scopes = ["a"] }
"#;
    // A signing secret may contain any characters.
    let secrets = ["p@ss:w/rd+1", "p@ss:w/rd+2"];
    let own = |name: &str| keys[name].as_str().unwrap().to_owned();
    for (algorithm, key, secret, another) in [
        ("HS256", "secret", secrets[0].to_owned(), secrets[1].to_owned()),
        ("RS256", "private_key", own("rsa_pkcs1"), own("rsa_pkcs8")),
        ("ES256", "private_key", own("p256_pkcs8"), own("p256_pkcs8_2")),
    ] {
        let lines = lines.replace("KEY", key).replace("ALG", algorithm);
        let fixture = Fixture::of(&lines, &secret, &secret, "room 1").await;
        for _ in 0..2 {
            fixture.fetch().await.unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        }
        assert_eq!(fixture.sandbox.requests()[1].resource.as_deref(), Some("room 1"));

        let refused_of = async |lines: &str, secret: &str| {
            let base: BaseUrl = fixture.sandbox.base_url().to_string().parse().unwrap();
            let (another, _) = read(lines, secret).unwrap();
            let another = another.upstream().unwrap().replaced_by(&base);
            refused(fetch(&*another, "r", None).await, algorithm).0
        };
        assert_eq!(refused_of(&lines, &another).await, FaultClass::Credential, "{algorithm}");
        for (claim, instead) in [
            (r#"iss = "app""#, r#"iss = "another""#),
            (r#"scopes = ["a"]"#, r#"scopes = ["a", "b"]"#),
        ] {
            let lines = lines.replace(claim, instead);
            let class = refused_of(&lines, &secret).await;
            assert_eq!(class, FaultClass::Credential, "{algorithm}: {instead}");
        }
    }
}

#[tokio::test]
async fn other_requests_get_the_documented_refusals() {
    let fixture = Fixture::preset(ALL[0]).await;
    let base = fixture.sandbox.base_url().to_string();
    let ask = async |method: &str, path: &str, key: &str, body: &str| {
        let authority = base.trim_start_matches("http://").trim_end_matches('/');
        let stream = tokio::net::TcpStream::connect(authority).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(hyper_util::rt::TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", key)
            .header("content-type", "application/json")
            .body(http_body_util::Full::new(Bytes::copy_from_slice(body.as_bytes())))
            .unwrap();
        sender.send_request(request).await.unwrap().status().as_u16()
    };
    let (path, key) = ("/v1/auth/grant", "Token public-demo-key-of-the-sandbox-only");
    for (method, path, key, body, status) in [
        ("POST", path, key, "{}", 200),
        ("POST", path, key, r#"{"ttl_seconds":3600,"more":1}"#, 200),
        ("POST", path, key, r#"{"ttl_seconds":3601}"#, 400),
        ("POST", path, key, r#"{"ttl_seconds":0}"#, 400),
        ("POST", path, key, r#"{"ttl_seconds":"soon"}"#, 400),
        ("POST", path, key, "nothing", 400),
        ("GET", path, key, "", 405),
        ("POST", "/v1/auth", key, "{}", 404),
        ("POST", path, "Token other", "{}", 400),
        ("POST", path, "Bearer other", "{}", 400),
    ] {
        assert_eq!(ask(method, path, key, body).await, status, "{method} {path} {key} {body}");
    }
}

#[test]
fn endpoint_shows_no_secret() {
    for preset in ALL {
        let (lines, secret) = demo_of(preset);
        let (provider, _) = read(&lines, &secret).unwrap();
        let shown = format!(
            "{provider:?} {:?} {:?}",
            provider.upstream().unwrap().endpoint(),
            json!(provider.shown()),
        );
        assert!(!shown.contains(&secret), "{shown}");
        assert!(!shown.contains("BEGIN"), "{shown}");
    }
}
