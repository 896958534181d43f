//! Faults as strings and as JSON.

use std::time::Duration;

use http::{HeaderValue, StatusCode};
use proptest::prelude::*;

use super::*;

const SID: &str = "VJ0123456789abcdef0123456789abcdef";

/// Endpoint-specific bodies.
const OWN: [&str; 2] = ["grant-null", "grant-string"];

fn fault(text: &str) -> Fault {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn refused(text: &str) -> String {
    Fault::from_words(text, &OWN).expect_err(text).to_string()
}

#[test]
fn every_effect_is_parsed() {
    assert_eq!(fault("hang").effect, Effect::Hang);
    assert_eq!(fault("reset,times=2").when.times, Some(2));
    assert_eq!(fault("latency=1500ms").latency, Duration::from_millis(1500));
    assert_eq!(fault("latency=1500ms").effect, Effect::None);
    assert_eq!(fault("keep-alive=0s").keep_alive, Some(Duration::ZERO));
    assert_eq!(fault("shorter-life=20s").effect, Effect::ShorterLife(Duration::from_secs(20)));
    for (name, body) in BODIES {
        assert_eq!(fault(&format!("body={name}")).effect, Effect::Body(body));
    }
    assert_eq!(
        fault("body=of-its-own-2").effect,
        Effect::Body(BadBody::Own("of-its-own-2".into()))
    );
    let both = fault(&format!(" status=503 , latency=1s, resource={SID}\n"));
    assert_eq!(both.latency, Duration::from_secs(1));
    assert_eq!(both.resource.unwrap().as_str(), SID);
    let throttled = |retry_after| Effect::Status {
        code: StatusCode::TOO_MANY_REQUESTS,
        retry_after: Some(retry_after),
        body: None,
    };
    let text = |text| throttled(RetryAfter::Text(HeaderValue::from_static(text)));
    assert_eq!(fault("status=429,retry-after=5").effect, text("5"));
    assert_eq!(fault("status=429,retry-after=soon").effect, text("soon"));
    assert_eq!(fault("retry-after=,status=429").effect, text(""));
    assert_eq!(
        fault(r#"status=429,retry-after="Sun, 06 Nov 1994 08:49:37 GMT",times=1"#).effect,
        text("Sun, 06 Nov 1994 08:49:37 GMT")
    );
    let ahead = throttled(RetryAfter::DateIn(Duration::from_secs(90)));
    assert_eq!(fault("status=429,retry-after-date=90s").effect, ahead);
    let text = Effect::Body(BadBody::Text(r#"{"a":1,"b":"=,"}"#.into()));
    assert_eq!(fault(r#"body-text="{\"a\":1,\"b\":\"=,\"}""#).effect, text);
}

#[test]
fn any_word_is_a_body_while_endpoints_are_unknown() {
    for bad in ["body=", "body=Grant", "body=grant null", "body=grant_null", "body"] {
        assert!(bad.parse::<Fault>().is_err(), "{bad}");
    }
    assert!(fault("body=grant-nul").check(&OWN).is_err());
    for good in ["body=grant-null", "body=truncated", "body-text=any", "hang"] {
        assert_eq!(fault(good).check(&OWN), Ok(()), "{good}");
    }
}

#[test]
fn conditions_are_parsed() {
    let when = fault("hang,from=20s,until=1m 20s,requests=3-5").when;
    assert_eq!(when.from, Duration::from_secs(20));
    assert_eq!(when.until, Some(Duration::from_secs(80)));
    assert_eq!(when.requests, Some(3..=5));
    assert_eq!(fault("hang,requests=4").when.requests, Some(4..=4));
    assert_eq!(fault("hang,requests=10-").when.requests, Some(10..=u64::MAX));
    assert_eq!(fault("hang").when, super::super::When::default());
}

#[test]
fn json_is_equivalent() {
    let json = |text| Fault::from_json(text, &OWN);
    assert_eq!(
        json(r#"{"status": 429, "retry-after": "5", "requests": 3}"#).unwrap(),
        fault("status=429,retry-after=5,requests=3")
    );
    assert_eq!(json(r#"{"hang": true}"#).unwrap(), fault("hang"));
    assert_eq!(json(r#"{"body": "grant-null"}"#).unwrap(), fault("body=grant-null"));
    for bad in [
        "{",
        "[]",
        r#"{"hang": null}"#,
        r#"{"status": [503]}"#,
        r#"{"status": true}"#,
        r#"{"body": "null"}"#,
    ] {
        assert!(json(bad).is_err(), "{bad}");
    }
}

#[test]
fn errors_name_the_problem() {
    for (text, expected) in [
        ("", "\"\": unknown key; expected one of status, retry-after,"),
        ("hang,", "\"\": unknown key"),
        ("stauts=503", "\"stauts\": unknown key; did you mean status?"),
        ("times=3", "does nothing"),
        ("from=3s", "does nothing"),
        ("status=503,status=504", "status is given twice"),
        ("latency=1s,latency=1s", "latency is given twice"),
        ("status=99", "status must be"),
        ("status=600", "status must be"),
        ("status", "status must be"),
        ("body-text", "body-text must be"),
        ("latency=soon", "latency must be a duration"),
        ("until=9999999999999999s,hang", "until must be a duration"),
        ("shorter-life=1500ms", "whole seconds"),
        ("hang=1", "hang takes no value"),
        ("hang,reset", "hang and reset exclude each other"),
        ("status=500,body=truncated", "status and body exclude each other"),
        ("body=truncated,body-text=x", "body and body-text exclude each other"),
        (
            "status=429,retry-after=5,retry-after-date=5s",
            "retry-after and retry-after-date exclude each other",
        ),
        (
            "body=null",
            "body must be one of grant-null, grant-string, truncated, cut, slow, huge, endless, \
             gzip; body-text takes any string",
        ),
        ("body", "body must be one of grant-null,"),
        ("retry-after=5,hang", "retry-after requires a status"),
        ("retry-after-date=5s", "retry-after-date requires a status"),
        ("hang,resource=", "resource must be a resource, 1 to 256 bytes"),
        ("hang,resource=\"a\\u0000\"", "resource must be a resource, 1 to 256 bytes"),
        ("hang,times=0", "times must be"),
        ("hang,requests=0", "requests must be"),
        ("hang,requests=5-3", "requests must be"),
        ("hang,requests=-3", "requests must be"),
        ("hang,from=20s,until=20s", "until must be later than from"),
        ("body-text=\"abc", "body-text opens a quote"),
        ("body-text=\"abc\"d", "body-text continues after its closing quote"),
    ] {
        let error = refused(text);
        assert!(error.contains(expected), "{text}: {error}");
    }
}

/// The keys and values of any valid fault.
fn any_fault() -> impl Strategy<Value = Vec<(&'static str, Option<String>)>> {
    let text = "[ -~\n\u{e9}]{0,12}";
    let header = "[ -~]{0,12}";
    let time = || (0_u64..200_000).prop_map(|millis| format!("{millis}ms"));
    let valued = |key: &'static str| move |value: String| vec![(key, Some(value))];
    let effect = prop_oneof![
        Just(vec![("hang", None)]),
        Just(vec![("reset", None)]),
        time().prop_map(valued("keep-alive")),
        (1_u32..1000).prop_map(|by| vec![("shorter-life", Some(format!("{by}s")))]),
        (0..BODIES.len()).prop_map(|at| vec![("body", Some(BODIES[at].0.to_owned()))]),
        "[a-z0-9-]{1,12}".prop_map(valued("body")),
        text.prop_map(valued("body-text")),
        (200_u16..600, header).prop_map(|(code, after)| vec![
            ("status", Some(code.to_string())),
            ("retry-after", Some(after)),
        ]),
        (200_u16..600, time(), text).prop_map(|(code, ahead, text)| vec![
            ("status", Some(code.to_string())),
            ("retry-after-date", Some(ahead)),
            ("body-text", Some(text)),
        ]),
    ];
    let requests = prop_oneof![
        (1_u32..9).prop_map(|first| first.to_string()),
        (1_u32..9).prop_map(|first| format!("{first}-")),
        (1_u32..9, 9_u32..20).prop_map(|(first, last)| format!("{first}-{last}")),
    ];
    let rest = (
        proptest::option::of(time()),
        proptest::option::of("[ -~\u{e9}]{1,12}"),
        proptest::option::of(Just("1s".to_owned())),
        proptest::option::of(Just("1h 2s 3ms".to_owned())),
        proptest::option::of(requests),
        proptest::option::of((1_u32..9).prop_map(|times| times.to_string())),
    );
    (effect, rest).prop_map(|(mut words, (latency, resource, from, until, requests, times))| {
        for (key, value) in [
            ("latency", latency),
            ("resource", resource),
            ("from", from),
            ("until", until),
            ("requests", requests),
            ("times", times),
        ] {
            words.extend(value.map(|value| (key, Some(value))));
        }
        words
    })
}

proptest! {
    #[test]
    fn written_faults_parse_back_equal(words in any_fault()) {
        let mut draft = Draft::default();
        for (key, value) in &words {
            draft.set(key, value.as_deref()).unwrap();
        }
        let fault = draft.finish().unwrap();
        let text = fault.to_string();
        prop_assert_eq!(text.parse(), Ok(fault.clone()), "{}", &text);
        prop_assert_eq!(text.lines().count(), 1);
        // The same keys are written, in whatever form.
        let keys: Vec<_> = fault.words().into_iter().map(|(key, _)| key).collect();
        prop_assert!(keys.is_sorted_by_key(|key| Fault::KEYS.iter().position(|known| known == key)));
    }
}
