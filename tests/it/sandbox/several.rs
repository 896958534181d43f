//! Several upstreams in one sandbox: two of the same kind, and an unusual one defined outside the
//! crate.

use std::sync::Arc;

use bytes::Bytes;
use grantmint::{
    clock::Clock,
    config::Config,
    provider::twilio_live::{
        DEMO_ACCOUNT_SID, DEMO_API_KEY_SECRET, DEMO_API_KEY_SID, DEMO_RESOURCE,
    },
    sandbox::{
        self, Answer, AnswerContext, Credential, Endpoint, Flaw, Recognized, Sandbox,
        request::authorization,
    },
};
use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{ask, ask_as};
use crate::support::{answer, emulated, get};

const SECRET: &str = "another-secret-of-more-than-32-bytes";

/// Returns its credential as plain text, for one resource that requests do not name, and refuses
/// with status 200.
#[derive(Debug)]
struct Plain;

impl Endpoint for Plain {
    fn bodies(&self) -> &'static [&'static str] {
        &["spaces"]
    }

    fn recognize(&self, request: &Request<Bytes>) -> Recognized {
        let path = request.uri().path() == "/issue";
        let key = authorization(request.headers(), "key");
        Recognized {
            path,
            credential: if key == Some("K") { Credential::Proven } else { Credential::Foreign },
            resource: path.then(|| "default".to_owned()),
            notes: vec![("bytes", Some(request.body().len().to_string()))],
        }
    }

    fn answer(&self, request: &Request<Bytes>, context: &mut AnswerContext<'_>) -> Answer {
        if self.recognize(request).credential != Credential::Proven {
            let body = json!({"errcode": 40001});
            return Answer::json(StatusCode::OK, &body).refusing(StatusCode::UNAUTHORIZED);
        }
        let credential = match context.flaw {
            Flaw::Body(_) => "   ".to_owned(),
            _ => context.random.hex(),
        };
        Answer::new(StatusCode::OK, "text/plain", credential.clone()).granting(credential)
    }
}

/// The demo's profile, and another of its kind with its own account and key.
fn configuration() -> Config {
    let sids = |prefix: &str| format!("{prefix}{}", "e".repeat(32));
    let profile = |name: &str, account: &str, key: &str, variable: &str| {
        format!(
            "[profiles.{name}]\nkind = \"twilio-live\"\naccount_sid = \"{account}\"\n\
             api_key_sid = \"{key}\"\napi_key_secret_env = \"{variable}\"\n\
             resources = [\"{DEMO_RESOURCE}\"]\n"
        )
    };
    let text = profile("one", DEMO_ACCOUNT_SID, DEMO_API_KEY_SID, "ONE")
        + &profile("other", &sids("AC"), &sids("SK"), "OTHER");
    let env =
        |name: &str| Some(if name == "ONE" { DEMO_API_KEY_SECRET } else { SECRET }.to_owned());
    Config::parse_with("test.toml", &text, &env).unwrap_or_else(|e| panic!("{e}"))
}

async fn several() -> Sandbox {
    let profiles = configuration().profiles;
    let mut endpoints: Vec<Arc<dyn Endpoint>> = vec![Arc::new(Plain)];
    endpoints.extend(profiles.iter().map(|it| it.provider.upstream().unwrap().endpoint()));
    let config = sandbox::Config { endpoints, ..emulated() };
    Sandbox::bind("127.0.0.1:0".parse().unwrap(), config, Clock::system()).await.unwrap()
}

#[tokio::test]
async fn each_endpoint_gets_its_own_requests() {
    let sandbox = several().await;
    let account = |body: &str| serde_json::from_str::<Value>(body).unwrap()["account_sid"].clone();
    assert_eq!(account(&ask(&sandbox, DEMO_RESOURCE).await.body), DEMO_ACCOUNT_SID);
    let key = format!("SK{}", "e".repeat(32));
    let other = ask_as(&sandbox, &key, SECRET, DEMO_RESOURCE).await;
    assert_eq!(account(&other.body), format!("AC{}", "e".repeat(32)));
    assert!(other.header("twilio-request-id").is_some());
    // A request with a known key id and a wrong secret belongs to that endpoint.
    let refused = ask_as(&sandbox, &key, "wrong", DEMO_RESOURCE).await;
    assert!(refused.status == 401 && refused.body.contains("\"Authenticate\""), "{refused:?}");

    let url = format!("http://{}/issue", sandbox.addr());
    let issued = answer("POST", &url, &["authorization: Key K"], "abc").await;
    assert_eq!((issued.status, issued.body.len()), (200, 32));
    assert_eq!(issued.header("twilio-request-id"), None);
    let refused = answer("POST", &url, &[], "").await;
    assert_eq!((refused.status, &*refused.body), (200, "{\"errcode\":40001}"));
    let counters = sandbox.counters();
    assert_eq!((counters.granted, counters.unauthorized, counters.refused[&401]), (3, 2, 2));

    let (_, log) = get(&format!("{}/requests", sandbox.control_url())).await;
    let log: Value = serde_json::from_str(&log).unwrap();
    assert_eq!((&log[0]["ttl"], &log[0]["bytes"]), (&json!("60"), &Value::Null));
    assert_eq!((&log[3]["bytes"], &log[3]["resource"]), (&json!("3"), &json!("default")));
    assert!(log[3].get("ttl").is_none() && !log.to_string().contains(&issued.body), "{log}");
}

#[tokio::test]
async fn fault_applies_only_to_its_endpoints() {
    let sandbox = several().await;
    let url = format!("http://{}/issue", sandbox.addr());
    let issue = async || answer("POST", &url, &["authorization: Key K"], "").await;
    sandbox.set_fault("body=spaces".parse().unwrap());
    assert_eq!(ask(&sandbox, DEMO_RESOURCE).await.status, 201);
    assert_eq!(issue().await.body, "   ");
    sandbox.set_fault("body=grant-null".parse().unwrap());
    assert!(ask(&sandbox, DEMO_RESOURCE).await.body.contains("\"grant\":null"));
    assert_eq!(issue().await.body.len(), 32);
    sandbox.clear_faults();
    sandbox.set_fault("status=503,resource=default".parse().unwrap());
    assert_eq!(ask(&sandbox, DEMO_RESOURCE).await.status, 201);
    let down = issue().await;
    assert!(down.status == 503 && down.body.starts_with("<html>"), "{down:?}");
}
