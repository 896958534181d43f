//! A profile's keys: which are accepted and refused, and that no secret is shown.

use std::time::Duration;

use super::{SECRET, fetch, read, upstream::Upstream};
use crate::{
    grant::FaultClass,
    provider::{GrantRules, LifeRules},
    source::FetchError,
};

/// A valid recipe; `{url}` is the upstream.
const GOOD: &str = r#"
url = "https://api.example/token"
headers = { x-key = "{secret}" }
credential = "/token"
life = { seconds = "/life" }
secret_env = "S"
"#;

/// The problems of a recipe with this line in place of another.
fn problems_of(line: &str, instead: &str) -> String {
    let key = line.split(' ').next().unwrap();
    let lines = GOOD.lines().filter(|line| line.split(' ').next() != Some(key));
    let lines = lines.collect::<Vec<_>>().join("\n");
    match read(&format!("{lines}\n{instead}\n"), SECRET) {
        Ok((provider, _)) => format!("good: {provider:?}"),
        Err(problems) => problems.to_string(),
    }
}

#[test]
fn recipe_problems_are_reported_with_their_keys() {
    assert!(problems_of("none", "").starts_with("good"), "{}", problems_of("none", ""));
    for (line, instead, wanted) in [
        ("url", "", "url: is missing: a profile of this kind needs a preset or a url"),
        ("url", "url = 'http://api.example/'", "url: is plain http to another machine"),
        ("url", "url = 'https://api.example/{secret}'", "url: must not contain {secret}"),
        ("url", "url = 'https://api.example/{reource}'", "url: has an unknown placeholder"),
        ("url", "url = 'https://api.example/?a=b'", "url: must not have a query"),
        ("query", "query = { key = '{secret}' }", "query: must not contain {secret}"),
        ("query", "query = { key = ['a'] }", "query: key: must be a string"),
        ("headers", "headers = { host = 'a' }", "headers: host: is set by HTTP itself"),
        ("headers", "headers = { x-key = '{' }", "headers: x-key: has an unmatched brace"),
        ("form", "form = { a = 'b' }\njson = { a = 'b' }", "json: conflicts with form"),
        ("json", "json = { a = ['{x}'] }", "json: has an unknown placeholder"),
        ("method", "method = 'DELETE'", "method: must be POST, PUT or GET"),
        ("method", "method = 'GET'\nform = { a = 'b' }", "method: is GET, which has no body"),
        ("credential", "credential = 'token'", "credential: is not a JSON Pointer"),
        ("credential", "", "credential: is missing"),
        ("life", "", "life: is missing: the credential's expiry"),
        ("life", "life = 'soon'", "life: is not a duration"),
        ("life", "life = '0s'", "life: must be over zero"),
        ("life", "life = 60", "life: must be {"),
        ("life", "life = { seconds = '/a', until = '/b' }", "life: must be {"),
        ("life", "life = { seconds = '/a', else = '1h' }", "life: must be {"),
        (
            "life",
            "life = 'requested'",
            "life: is the requested life, but no placeholder {grant_ttl}",
        ),
        ("credential", "credential = 'text'", "life: points into JSON"),
        ("secret_env", "", "secret_file: is missing"),
        ("headers", "", "secret_env: is unused"),
        ("basic_user", "basic_user = 'a:b'", "basic_user: is empty, or contains a colon"),
        ("secret", "secret = 'zqmarkerqz'", "secret: a secret is never a value"),
        ("errors", "errors = { pointer = 'code' }", "errors.pointer: is not a JSON Pointer"),
        ("errors", "errors = { pointer = '/c', transient = [1], credential = [1] }", "duplicate"),
        (
            "errors",
            "errors = { pointer = '/c', transient = [1.5] }",
            "neither a string nor a whole",
        ),
        ("errors", "errors = { pointer = '/c', transint = [1] }", "did you mean transient?"),
        ("covers", "covers = 'all'", "covers: is neither"),
        ("timeout", "timeout = '11s'", "timeout: must be from 1s to 10s"),
        ("ca_file", "ca_file = '/nowhere.pem'", "ca_file: cannot be read"),
        ("upstream", "upstream = 'https://a.example/?b'", "upstream: must not have a query"),
        ("preset", "preset = 'deepgrm'", "preset: unknown preset; did you mean"),
        ("preset", "preset = 'deepgram'", "unknown key"),
        ("headers", "headers = { x = '{secret}{assertion}' }", "assertion: is missing"),
        ("assertion", "assertion = { alg = 'RS256' }", "assertion.claims: is missing"),
        (
            "assertion",
            "assertion = { alg = 'none' }",
            "assertion.alg: must be one of RS256, ES256, HS256",
        ),
        ("assertion", "assertion = { alg = 'HS256', claims = {} }", "assertion: is unused"),
        (
            "assertion",
            "assertion = { alg = 'HS256', claims = { iat = { from = 'then' } } }",
            "claims: iat: from: must be one of resource, now, exp, uuid",
        ),
        (
            "assertion",
            "private_key_env = 'S'\nassertion = { alg = 'RS256', claims = {} }",
            "private_key_env: the secret in the variable S is not a private key: expected PEM",
        ),
    ] {
        let problems = problems_of(line, instead);
        assert!(problems.contains(wanted), "{instead}: {problems}");
        assert!(!problems.contains("zqmarkerqz"), "{problems}");
    }
}

#[test]
fn life_is_requested_where_a_placeholder_exists() {
    let rules = |lines: &str| read(lines, SECRET).unwrap().1;
    assert_eq!(rules(GOOD).life, LifeRules::Reported);
    let requesting =
        GOOD.replace("x-key = \"{secret}\"", "x-key = \"{secret}\", x-ttl = \"{grant_ttl}\"");
    let GrantRules { life, refresh_at } = rules(&requesting);
    assert!(
        matches!(life, LifeRules::Requested { default, .. } if default == Duration::from_secs(60))
    );
    assert!((refresh_at - 5.0 / 6.0).abs() < f64::EPSILON);
    let half = rules("preset = 'azure-speech'\nregion = 'westeurope'\nkey_env = 'S'");
    assert!((half.refresh_at - 0.5).abs() < f64::EPSILON);
}

#[test]
fn no_secret_is_shown_anywhere() {
    let (provider, _) = read(&format!("{GOOD}\nbasic_user = 'user'"), SECRET).unwrap();
    let shown = format!("{provider:?} {:?} {:?}", provider.shown(), provider.notes());
    assert!(shown.contains("(set, from environment variable S)"), "{shown}");
    assert!(!shown.contains(SECRET) && !provider.upstream().unwrap().account().contains(SECRET));
}

/// The result of a response to the valid recipe.
async fn answered(status: u16, headers: &[(&str, &str)], body: &str, more: &str) -> FetchError {
    let upstream = Upstream::answering(status, headers, body.to_owned()).await;
    let lines = format!("{GOOD}\nupstream = '{}'\n{more}", upstream.url);
    let (provider, _) = read(&lines, SECRET).unwrap();
    let error = fetch(&*provider, "r", None).await.unwrap_err();
    let shown = format!("{error} {error:?} {provider:?}");
    assert!(!shown.contains("zqmarkerqz"), "{shown}");
    error
}

#[tokio::test]
async fn code_in_body_overrides_the_status() {
    let errors = r#"errors = { pointer = "/e/code", transient = [-1], throttled = ["slow"],
        credential = [40001], misconfigured = ["gone away"] }"#;
    for (status, code, class, reason) in [
        // A response with Retry-After is honored, whatever the fault.
        (200, "-1", FaultClass::Throttled, "UPSTREAM_CODE_MINUS_1"),
        (503, "-1", FaultClass::Throttled, "HTTP_STATUS_503"),
        (200, "40001", FaultClass::Credential, "UPSTREAM_CODE_40001"),
        (400, "40001", FaultClass::Credential, "UPSTREAM_CODE_40001"),
        (400, "\"slow\"", FaultClass::Throttled, "UPSTREAM_CODE_SLOW"),
        (200, "40002", FaultClass::Resource, "UPSTREAM_CODE_40002"),
        (200, "\"zqmarkerqz\"", FaultClass::Resource, "UPSTREAM_CODE_UNKNOWN"),
        (500, "40002", FaultClass::Transient, "HTTP_STATUS_500"),
        (400, "0", FaultClass::Resource, "HTTP_STATUS_400"),
        (200, "0", FaultClass::Transient, "MALFORMED_ANSWER"),
        (200, "\"\"", FaultClass::Transient, "MALFORMED_ANSWER"),
        (200, "null", FaultClass::Transient, "MALFORMED_ANSWER"),
    ] {
        let body = format!(r#"{{"e":{{"code":{code}}},"text":"zqmarkerqz"}}"#);
        let wait = [("retry-after", "9")];
        let error = answered(status, &wait, &body, errors).await;
        let FetchError::Failed { fault, retry_after } = error else { panic!("{error:?}") };
        assert_eq!((fault.class, &*fault.reason), (class, reason), "{status} {code}");
        let waits = class == FaultClass::Throttled;
        assert_eq!(retry_after, waits.then_some(Duration::from_secs(9)), "{status} {code}");
    }
}

#[tokio::test]
async fn exhausted_rate_limit_is_throttled_until_its_reset() {
    let key = super::super::presets::RSA_KEY;
    let now = crate::clock::Clock::system().now().wall.unix_seconds();
    let reset = (now + 50).to_string();
    for (status, remaining, class) in [
        (403, "0", FaultClass::Throttled),
        (429, "0", FaultClass::Throttled),
        (403, "7", FaultClass::Resource),
        (401, "0", FaultClass::Credential),
        (404, "0", FaultClass::Resource),
        (422, "0", FaultClass::Resource),
    ] {
        let headers = [("x-ratelimit-remaining", remaining), ("x-ratelimit-reset", &*reset)];
        let upstream = Upstream::answering(status, &headers, "{}").await;
        let lines = format!(
            "preset = 'github-app'\napp_id = 1\nprivate_key_env = 'S'\nupstream = '{}'\n\
             repositories = ['a']\npermissions = {{ contents = 'read' }}",
            upstream.url
        );
        let (provider, _) = read(&lines, key).unwrap();
        let error = fetch(&*provider, "42", None).await.unwrap_err();
        let FetchError::Failed { fault, retry_after } = error else { panic!("{error:?}") };
        assert_eq!(fault.class, class, "{status}: {fault}");
        let waits = retry_after.is_some_and(|wait| (45..=50).contains(&wait.as_secs()));
        assert_eq!(waits, class == FaultClass::Throttled, "{status}: {retry_after:?}");
        let request = &upstream.requests()[0];
        assert_eq!(request.uri.path(), "/app/installations/42/access_tokens");
        assert!(request.headers["authorization"].to_str().unwrap().starts_with("Bearer ey"));
        assert_eq!(request.body, r#"{"permissions":{"contents":"read"},"repositories":["a"]}"#);
    }
}
