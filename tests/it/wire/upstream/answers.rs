//! How a response is classified by its status, headers and body.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use grantmint::{
    clock::Clock,
    config::Config,
    provider::twilio_live::{DEMO_API_KEY_SECRET, DEMO_API_KEY_SID},
    source::{Fetched, base_url::BaseUrl},
};
use serde_json::Value;

use super::{Act, RawUpstream, STREAMER, answer, failure, fetch, good, source, source_by};
use crate::wire::harness::{MARKER, profile};

const VECTORS: &str = include_str!("../../../vectors/playback_grant_responses.json");

/// The outcome of each refused response of the vectors.
const REFUSED: [(&str, &str, &str, Option<u64>); 19] = [
    ("create_spec_example", "misconfigured", "GRANT_OF_ANOTHER_RESOURCE", None),
    ("create_as_printed_in_the_guide", "transient", "MALFORMED_ANSWER", None),
    ("create_grant_null", "transient", "MALFORMED_ANSWER", None),
    ("bad_request_20001", "resource", "HTTP_STATUS_400", None),
    ("bad_request_ttl_guess", "resource", "HTTP_STATUS_400", None),
    ("unauthorized_20003", "credential", "HTTP_STATUS_401", None),
    ("unauthorized_20003_invalid_username", "credential", "HTTP_STATUS_401", None),
    ("forbidden_20403", "credential", "HTTP_STATUS_403", None),
    ("not_found_20404", "resource", "HTTP_STATUS_404", None),
    ("too_many_requests_20429", "throttled", "HTTP_STATUS_429", None),
    ("too_many_requests_with_retry_after", "throttled", "HTTP_STATUS_429", Some(1)),
    ("too_many_requests_errors_array", "throttled", "HTTP_STATUS_429", Some(1)),
    ("too_many_requests_rfc9457", "throttled", "HTTP_STATUS_429", None),
    ("internal_error_20500", "transient", "HTTP_STATUS_500", None),
    ("unavailable_20503", "throttled", "HTTP_STATUS_503", Some(2)),
    ("bad_gateway_html", "transient", "HTTP_STATUS_502", None),
    ("empty_500", "transient", "HTTP_STATUS_500", None),
    ("truncated_json", "transient", "MALFORMED_ANSWER", None),
    ("redirect", "misconfigured", "HTTP_STATUS_307", None),
];

const TAKEN: [&str; 3] =
    ["create_realistic", "create_request_credentials_include", "create_unknown_fields"];

#[tokio::test]
async fn documented_responses_are_accepted_or_refused() {
    let vectors: Vec<Value> = serde_json::from_str(VECTORS).unwrap();
    let (mut taken, mut refused) = (0, 0);
    // GET is never used.
    for vector in vectors.iter().filter(|vector| vector["method"] == "POST") {
        let name = vector["name"].as_str().unwrap();
        let body = match &vector["body"] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let headers = vector["headers"].as_object().into_iter().flatten();
        let headers: String = headers
            .flat_map(|(name, value)| [name, ": ", value.as_str().unwrap(), "\r\n"])
            .collect();
        let status = format!("{} Any", vector["status"]);
        let upstream = RawUpstream::bind(vec![Act::Answer(answer(&status, &headers, &body))]).await;
        let fetched = fetch(&source(&upstream.url(), ""), STREAMER).await;
        if TAKEN.contains(&name) {
            let fetched = fetched.unwrap_or_else(|error| panic!("{name}: {error}"));
            let grant: Value = serde_json::from_str(fetched.content.as_str()).unwrap();
            assert_eq!(grant, vector["body"]["grant"], "{name}");
            // The playback token has no iat, so its exp is not used.
            assert_eq!(fetched.granted.ttl(), Duration::from_secs(60));
            taken += 1;
        } else {
            let (_, class, reason, after) = REFUSED
                .into_iter()
                .find(|(refused, ..)| *refused == name)
                .unwrap_or_else(|| panic!("{name} is in neither list"));
            let expected = (class, reason.to_owned(), after.map(Duration::from_secs));
            assert_eq!(failure(fetched), expected, "{name}");
            refused += 1;
        }
        assert_eq!(upstream.requests().len(), 1, "{name}: a second request was sent");
    }
    assert_eq!((taken, refused), (TAKEN.len(), REFUSED.len()));
}

#[tokio::test]
async fn every_status_has_its_class() {
    let cases = [
        ("400", "", "resource", None),
        ("404", "", "resource", None),
        ("405", "", "resource", None),
        ("408", "", "transient", None),
        ("415", "", "resource", None),
        ("410", "", "resource", None),
        ("418", "", "resource", None),
        ("422", "", "resource", None),
        ("451", "", "resource", None),
        ("301", "", "misconfigured", None),
        ("304", "", "misconfigured", None),
        ("504", "", "transient", None),
        ("599", "", "transient", None),
        ("503", "retry-after: 7\r\n", "throttled", Some(7)),
        ("503", "retry-after: soon\r\n", "transient", None),
        ("429", "retry-after: 0\r\n", "throttled", Some(0)),
        ("429", "retry-after: -5\r\n", "throttled", None),
        ("429", "retry-after: 1.5\r\n", "throttled", None),
        ("429", "retry-after: \u{b5}\r\n", "throttled", None),
        ("429", "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "throttled", Some(0)),
        ("429", "retry-after: 99999999999999999999999\r\n", "throttled", Some(u64::MAX)),
        ("401", "retry-after: 7\r\n", "credential", None),
        ("500", "retry-after: 7\r\n", "transient", None),
    ];
    for (status, headers, class, after) in cases {
        let text = answer(&format!("{status} {MARKER}"), headers, MARKER);
        let upstream = RawUpstream::bind(vec![Act::Answer(text)]).await;
        let seen = failure(fetch(&source(&upstream.url(), ""), STREAMER).await);
        let expected = (class, format!("HTTP_STATUS_{status}"), after.map(Duration::from_secs));
        assert_eq!(seen, expected, "{status} {headers:?}");
    }
}

#[tokio::test]
async fn any_2xx_with_a_valid_body_is_accepted() {
    for status in ["200 OK", "201 Created", "202 Accepted", "206 Partial", "299 \u{fc}ber"] {
        let upstream =
            RawUpstream::bind(vec![Act::Answer(good().replace("201 Created", status))]).await;
        assert!(fetch(&source(&upstream.url(), ""), STREAMER).await.is_ok(), "{status}");
    }
    let grant = |grant: &str| format!(r#"{{"sid":"{STREAMER}","grant":{grant}}}"#);
    let player = format!(r#""playerStreamerSid":"{STREAMER}""#);
    let url = r#""playbackUrl":"https://v.example/""#;
    let other = STREAMER.replace("VJa1", "VJb2");
    let whole = format!("{{{url},{player}}}");
    let account = "ACffffffffffffffffffffffffffffffff";
    let malformed = [
        String::new(),
        "null".into(),
        "[]".into(),
        "{}".into(),
        MARKER.into(),
        format!("{}{}", grant(&whole), grant(&whole)),
        grant("[]"),
        grant("{}"),
        grant("7"),
        grant(&format!(r#"["https://v.example/","{STREAMER}"]"#)),
        grant(&format!("{{{player}}}")),
        grant(&format!("{{{url}}}")),
        grant(&format!(r#"{{"playbackUrl":"",{player}}}"#)),
        grant(&format!(r#"{{"playbackUrl":7,{player}}}"#)),
        grant(&format!(r#"{{{url},"playerStreamerSid":""}}"#)),
        grant(&format!(r#"{{{url},"playerStreamerSid":null}}"#)),
        grant(&format!("{{{url},{url},{player}}}")),
        grant(&"[".repeat(50_000)),
        format!(r#"{{"sid":7,"grant":{whole}}}"#),
    ];
    let resource = "GRANT_OF_ANOTHER_RESOURCE";
    let misconfigured = [
        (format!(r#"{{"sid":"{other}","grant":{whole}}}"#), resource),
        (format!(r#"{{"sid":"","grant":{whole}}}"#), resource),
        (grant(&format!(r#"{{{url},"playerStreamerSid":"{other}"}}"#)), resource),
        (format!(r#"{{"account_sid":"{account}","grant":{whole}}}"#), "GRANT_OF_ANOTHER_ACCOUNT"),
    ];
    let malformed = malformed.map(|body| (body, "transient", "MALFORMED_ANSWER"));
    let misconfigured = misconfigured.map(|(body, reason)| (body, "misconfigured", reason));
    for (body, class, reason) in malformed.into_iter().chain(misconfigured) {
        let upstream = RawUpstream::bind(vec![Act::Answer(answer("201 Created", "", &body))]).await;
        let seen = failure(fetch(&source(&upstream.url(), ""), STREAMER).await);
        assert_eq!(seen, (class, reason.to_owned(), None), "{body:.200}");
    }
    // Nulls and hexadecimal case do not matter, and unknown fields are ignored.
    let fine = [
        format!(r#"{{"sid":null,"account_sid":null,"grant":{whole}}}"#),
        format!(r#"{{"sid":"{}","grant":{whole}}}"#, STREAMER.to_uppercase()),
        format!(
            r#"{{"x":[{{}}],"grant":{{"x":{},{url},{player}}}}}"#,
            "[".repeat(99) + &"]".repeat(99)
        ),
    ];
    for body in fine {
        let upstream = RawUpstream::bind(vec![Act::Answer(answer("201 Created", "", &body))]).await;
        assert!(fetch(&source(&upstream.url(), ""), STREAMER).await.is_ok(), "{body}");
    }
}

#[tokio::test]
async fn response_dates_do_not_affect_grant_expiry() {
    let dates =
        ["null", "\"\"", "\"2015-07-30T20:00:00Z\"", "\"2999-01-01T00:00:00Z\"", "\"soon\"", "7"];
    for created in dates {
        let body = format!(r#"{{"date_created":{created},"sid""#);
        let text = good().split_once("\r\n\r\n").unwrap().1.replace(r#"{"sid""#, &body);
        let headers = "date: Thu, 30 Jul 2015 20:00:00 GMT\r\n";
        let upstream =
            RawUpstream::bind(vec![Act::Answer(answer("201 Created", headers, &text))]).await;
        let clock = Clock::system();
        let before = clock.now();
        let source = source_by(clock.clone(), &upstream.url(), "");
        let Fetched { anchor, granted, .. } = fetch(&source, STREAMER).await.unwrap();
        let after = clock.now();
        assert!((before.boot..=after.boot).contains(&anchor.boot), "{created}");
        assert!((before.wall..=after.wall).contains(&anchor.wall), "{created}");
        assert_eq!(granted.ttl(), Duration::from_secs(60), "{created}");
    }
}

#[tokio::test]
async fn request_matches_the_documentation() {
    let upstream = RawUpstream::bind(vec![Act::Answer(good())]).await;
    let more =
        "grant_ttl = \"30s\"\nrefresh_after = \"20s\"\nallow_origin = \"https://www.example.com\"";
    fetch(&source(&upstream.url(), more), STREAMER).await.unwrap();
    fetch(&source(&format!("{}/base/", upstream.url()), ""), STREAMER).await.unwrap();
    let requests = upstream.requests();
    let (head, body) = requests[0].split_once("\r\n\r\n").unwrap();
    let pair = BASE64_STANDARD.encode(format!("{DEMO_API_KEY_SID}:{DEMO_API_KEY_SECRET}"));
    let mut lines: Vec<_> = head.split("\r\n").map(str::to_owned).collect();
    assert_eq!(
        lines.remove(0),
        format!("POST /v1/PlayerStreamers/{STREAMER}/PlaybackGrant HTTP/1.1")
    );
    lines.sort();
    let expected = [
        "accept: application/json".to_owned(),
        format!("authorization: Basic {pair}"),
        format!("content-length: {}", body.len()),
        "content-type: application/x-www-form-urlencoded".to_owned(),
        format!("host: {}", upstream.addr),
    ];
    assert_eq!(lines, expected);
    assert_eq!(body, "Ttl=30&AccessControlAllowOrigin=https%3A%2F%2Fwww.example.com");
    let (head, body) = requests[1].split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with(&format!("POST /base/v1/PlayerStreamers/{STREAMER}/PlaybackGrant ")));
    assert_eq!(body, "Ttl=60", "an origin without configuration");
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused() {
    for upstream in [
        "http://media.twilio.com",
        "http://10.0.0.1:80",
        "http://127.0.0.1.example",
        "http://localhost.example",
        "http://[::2]:80",
        "http://[::ffff:10.0.0.1]",
        "http://0.0.0.0",
        "ftp://127.0.0.1",
    ] {
        let text = profile("live", &[STREAMER], "").replace("UPSTREAM", upstream);
        let env = |_: &str| Some(DEMO_API_KEY_SECRET.to_owned());
        assert!(Config::parse_with("test.toml", &text, &env).is_err(), "{upstream}");
        assert!(upstream.parse::<BaseUrl>().is_err(), "{upstream}");
    }
}
