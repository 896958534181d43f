//! The responses in `tests/vectors/forward.json`: documented, recorded and constructed. The
//! requests are compared with the recorded ones, and the results with the expected ones.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::Uri;
use serde::Deserialize;
use serde_json::Value;

use super::{default_life, fetch, read, upstream::Upstream};
use crate::{grant::FaultClass, source::FetchError};

const VECTORS: &str = include_str!("../../../../tests/vectors/forward.json");

const ACCOUNT: &str = "AC0123456789abcdef0123456789abcdef";
const KEY: &str = "SK89abcdef0123456789abcdef01234567";

#[derive(Deserialize)]
struct Vector {
    id: String,
    provider: String,
    request: Recorded,
    response: Answered,
    expect: Expected,
}

#[derive(Deserialize)]
struct Recorded {
    method: String,
    url: String,
    headers: BTreeMap<String, String>,
    body: String,
}

#[derive(Deserialize)]
struct Answered {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

#[derive(Deserialize)]
struct Expected {
    outcome: String,
    credential: Option<String>,
    life_seconds: Option<u64>,
    retry_after_seconds: Option<u64>,
}

/// The profile for a provider, and its secret.
fn profile(provider: &str) -> (String, &'static str) {
    match provider {
        "deepgram" | "any" => ("preset = 'deepgram'\napi_key_env = 'S'".to_owned(), "TEST-KEY"),
        "azure-speech" => {
            ("preset = 'azure-speech'\nregion = 'westeurope'\nkey_env = 'S'".to_owned(), "TEST-KEY")
        }
        "cloudflare-turn" => (
            "preset = 'cloudflare-turn'\nkey_id = 'TESTKEYID'\napi_token_env = 'S'".to_owned(),
            "TEST-TOKEN",
        ),
        "twilio-nts" => (
            format!(
                "preset = 'twilio-nts'\naccount_sid = '{ACCOUNT}'\napi_key_sid = '{KEY}'\n\
                 api_key_secret_env = 'S'"
            ),
            "secret",
        ),
        "oauth2" => (
            "preset = 'oauth2'\ntoken_url = 'https://idp.example.com/oauth2/token'\n\
             client_id = 'client'\nscope = 'media.read'\nclient_secret_env = 'S'"
                .to_owned(),
            "secret",
        ),
        other => panic!("no profile for {other}"),
    }
}

/// The life in a recorded request.
fn asked_for(body: &str) -> Option<Duration> {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let json = json.get("ttl_seconds").or_else(|| json.get("ttl")).and_then(Value::as_u64);
    let form = || body.strip_prefix("Ttl=").and_then(|text| text.parse().ok());
    json.or_else(form).map(Duration::from_secs)
}

/// A body in comparable form.
fn comparable(content_type: Option<&str>, body: &str) -> Value {
    if content_type.is_some_and(|it| it.contains("json")) {
        return serde_json::from_str(body).unwrap();
    }
    let mut pairs: Vec<_> = body.split('&').collect();
    pairs.sort_unstable();
    pairs.join("&").into()
}

async fn holds(vector: &Vector) {
    let id = &vector.id;
    let answered = &vector.response;
    let headers: Vec<_> =
        answered.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let upstream = Upstream::answering(answered.status, &headers, answered.body.clone()).await;
    let (lines, secret) = profile(&vector.provider);
    let recorded: Uri = vector.request.url.parse().unwrap();

    // The preset's own address is in the recording; the test uses a local one.
    let (own, grants) = read(&lines, secret).unwrap();
    let base = format!("https://{}", recorded.authority().unwrap());
    assert!(own.upstream().unwrap().account().starts_with(&base), "{id}");
    let lines = format!("{lines}\nupstream = '{}'", upstream.url);
    let (provider, _) = read(&lines, secret).unwrap();
    let ttl = asked_for(&vector.request.body).or_else(|| default_life(&grants));
    let result = fetch(&*provider, "default", ttl).await;

    let [request] = &upstream.requests()[..] else { panic!("{id}: {:?}", upstream.requests()) };
    assert_eq!(request.method, vector.request.method.as_str(), "{id}");
    assert_eq!(request.uri.path_and_query(), recorded.path_and_query(), "{id}");
    for (name, value) in &vector.request.headers {
        // The recorded key is too short to be valid.
        let basic = format!("Basic {}", BASE64_STANDARD.encode(format!("{KEY}:secret")));
        let is_key = vector.provider == "twilio-nts" && name == "authorization";
        let wanted = if is_key { &basic } else { value };
        assert_eq!(
            request.headers.get(name).map(|it| it.to_str().unwrap()),
            Some(&**wanted),
            "{id}"
        );
    }
    let content_type = vector.request.headers.get("content-type").map(String::as_str);
    let recorded = comparable(content_type, &vector.request.body);
    assert_eq!(comparable(content_type, &request.body), recorded, "{id}");

    let Expected { outcome, credential, life_seconds, retry_after_seconds } = &vector.expect;
    match (outcome.as_str(), result) {
        ("ok", Ok(fetched)) => {
            let pointer = credential.as_deref().unwrap();
            let content = fetched.content.as_str();
            if pointer.is_empty() {
                assert_eq!(content, answered.body, "{id}");
            } else {
                let whole: Value = serde_json::from_str(&answered.body).unwrap();
                let credential = whole.pointer(pointer).unwrap();
                if let Some(text) = credential.as_str() {
                    assert_eq!(content, text, "{id}");
                } else {
                    assert_eq!(serde_json::from_str::<Value>(content).unwrap(), *credential);
                    assert!(answered.body.contains(content), "{id}: not as it was written");
                }
            }
            assert_eq!(Some(fetched.granted.ttl().as_secs()), *life_seconds, "{id}");
        }
        ("malformed", Err(FetchError::Failed { fault, retry_after })) => {
            assert_eq!((fault.class, &*fault.reason), (FaultClass::Transient, "MALFORMED_ANSWER"));
            assert_eq!(retry_after, None, "{id}");
        }
        (outcome, Err(FetchError::Failed { fault, retry_after })) => {
            let recovers = match outcome {
                "transient" => true,
                "rejected" => false,
                other => panic!("{id}: {other}, not {fault}"),
            };
            assert_eq!(fault.class.recovers(), recovers, "{id}: {fault}");
            assert_eq!(retry_after.map(|it| it.as_secs()), *retry_after_seconds, "{id}");
        }
        (outcome, result) => panic!("{id}: {outcome}, and it is {result:?}"),
    }
}

#[tokio::test]
async fn every_recorded_response_is_classified() {
    let vectors: Vec<Vector> = serde_json::from_str(VECTORS).unwrap();
    assert_eq!(vectors.len(), 20);
    for vector in &vectors {
        holds(vector).await;
    }
}
