//! docs/sandbox.md matches the code.

use std::collections::BTreeSet;

use grantmint::{
    clock::Clock,
    provider::twilio_live::DEMO_RESOURCE,
    sandbox::{Fault, Sandbox, scenario},
};
use serde_json::Value;

use super::{ask, own};
use crate::support::{emulated, request};

const PAGE: &str = include_str!("../../../docs/sandbox.md");

/// The first cells of the tables with this head.
fn table(head: &str) -> Vec<&'static str> {
    let mut cells = Vec::new();
    let mut current = "";
    let mut lines = PAGE.lines().peekable();
    while let Some(line) = lines.next() {
        let cell = line.strip_prefix("| ").and_then(|row| row.split(" | ").next());
        if lines.peek().is_some_and(|below| below.starts_with("|---")) {
            current = cell.unwrap_or_default();
        } else if current == head {
            cells.extend(cell);
        }
    }
    cells
}

#[test]
fn tables_list_every_key_and_body() {
    let keys = table("key").into_iter().flat_map(|cell| cell.split(", "));
    let keys: BTreeSet<_> = keys.map(|key| key.trim_matches('`')).collect();
    assert_eq!(keys, BTreeSet::from(Fault::KEYS));
    let bodies: Vec<_> = table("`body`").iter().map(|cell| cell.trim_matches('`')).collect();
    let known = Fault::from_words("body=x", &own()).unwrap_err().to_string();
    let known = known.strip_prefix("body must be one of ").unwrap().split_once(';').unwrap().0;
    assert_eq!(bodies.join(", "), known);
}

#[test]
fn documented_faults_and_scenario_are_valid() {
    let scenario = PAGE.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    assert_eq!(scenario::parse("docs/sandbox.md", scenario, &own()).unwrap().len(), 2);
    let quoted = PAGE.split('`').skip(1).step_by(2);
    let faults: Vec<_> = quoted.filter(|text| text.contains("status=429")).collect();
    assert_eq!(faults.len(), 2);
    for text in faults {
        assert!(text.parse::<Fault>().is_ok(), "{text}");
    }
    let json = PAGE.split_once("| `{\"").unwrap().1.split_once('`').unwrap().0;
    let json = Fault::from_json(&format!("{{\"{json}"), &own()).unwrap();
    assert_eq!(json, "status=429,retry-after=5,from=20s,until=80s".parse().unwrap());
}

#[tokio::test]
async fn documented_requests_match_the_endpoints() {
    let any = "127.0.0.1:0".parse().unwrap();
    let sandbox = Sandbox::bind(any, emulated(), Clock::system()).await.unwrap();
    let url = |path: &str| format!("http://{}{path}", sandbox.addr());
    for row in table("request") {
        let (method, path) = row.trim_matches('`').split_once(' ').unwrap();
        let body = if path.ends_with("scenario") { "[[fault]]\nhang = true" } else { "hang" };
        let (status, _) = request(method, &url(path), body).await;
        assert!((200..300).contains(&status), "{row}: {status}");
    }
    // A log line has the members that the page shows, in the same order.
    sandbox.clear_faults();
    ask(&sandbox, DEMO_RESOURCE).await;
    let members = |line: &str| {
        let texts = line.split('"').skip(1).step_by(2);
        texts.filter(|text| line.contains(&format!("\"{text}\":"))).collect::<Vec<_>>().join(" ")
    };
    let shown = PAGE.split_once("```json\n").unwrap().1.split_once("\n```").unwrap().0;
    let (_, log) = request("GET", &url("/sandbox/requests"), "").await;
    assert_eq!(members(&log), members(shown));
    let (_, counters) = request("GET", &url("/sandbox/counters"), "").await;
    let counters: Value = serde_json::from_str(&counters).unwrap();
    for counter in counters.as_object().unwrap().keys() {
        assert!(PAGE.contains(&format!("`{counter}`")), "{counter}");
    }
}
