//! The fuzz targets, one function each. The tests replay their corpora.

mod bearers;
mod served;

use std::time::Duration;

use grantmint::{
    clock::WallTime,
    config::Config,
    provider::twilio_live::{
        DEMO_ACCOUNT_SID, DEMO_API_KEY_SECRET, DEMO_RESOURCE,
        ids::{AccountSid, PlayerStreamerSid},
        wire::read_answer,
    },
    source::http::retry_after as read_retry_after,
};
use http::HeaderValue;
use serde_json::Value;

pub use bearers::bearer_token;
pub use served::mint_request;

/// Any response of an upstream is accepted or refused, and an accepted grant is unchanged.
pub fn upstream_answer(data: &[u8]) {
    let account = AccountSid::parse(DEMO_ACCOUNT_SID).expect("a SID");
    let streamer = PlayerStreamerSid::parse(DEMO_RESOURCE).expect("a SID");
    let Ok(answered) = read_answer(data, &account, &streamer) else { return };
    let content = answered.content.as_str();
    // Ignored members may contain any bytes.
    let text = String::from_utf8_lossy(data);
    assert!(text.contains(content), "the grant was changed");
    let grant: Value = serde_json::from_str(content).expect("its readers can read it");
    assert!(grant["playbackUrl"].as_str().is_some_and(|url| !url.is_empty()));
    let sid = grant["playerStreamerSid"].as_str().expect("a string");
    assert!(sid.eq_ignore_ascii_case(DEMO_RESOURCE), "a grant of another resource");
}

/// Any Retry-After is a time or counts as absent.
pub fn retry_after(data: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let now = WallTime::from_unix_seconds(1_700_000_000);
    let read = read_retry_after(&value, now);
    let digits = value.to_str().ok().map(str::trim).filter(|text| {
        !text.is_empty() && text.len() < 20 && text.bytes().all(|byte| byte.is_ascii_digit())
    });
    if let Some(seconds) = digits.and_then(|digits| digits.parse().ok()) {
        assert_eq!(read, Some(Duration::from_secs(seconds)));
    }
}

/// Any file is a configuration that issues valid tokens, or results in problems on existing
/// lines, never with the secret.
pub fn configuration(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let secret = |_: &str| Some(DEMO_API_KEY_SECRET.to_owned());
    match Config::parse_with("fuzz.toml", text, &secret) {
        Ok(config) => {
            for profile in &config.profiles {
                let worst = profile.shortest_validity();
                assert!(worst.is_none_or(|worst| !worst.is_zero()), "a token without validity");
            }
            assert!(!format!("{config:?}").contains(DEMO_API_KEY_SECRET));
        }
        Err(problems) => {
            let lines = text.lines().count().max(1) + 1;
            assert!(!problems.list().is_empty());
            for problem in problems.list() {
                assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problems}");
            }
            assert!(!problems.to_string().contains(DEMO_API_KEY_SECRET));
        }
    }
}
