//! The sample scenario is accurate.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use grantmint::{
    clock::{Clock, Simulation, WallTime},
    provider::twilio_live::DEMO_RESOURCE,
    sandbox::{self, Fault, Sandbox, scenario},
};

use super::{ask, own};
use crate::support::{emulated, until};

const SAMPLE: &str = include_str!("../../../scenario.toml");

fn sample() -> Vec<Fault> {
    scenario::parse("scenario.toml", SAMPLE, &own()).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn sample_has_every_key_and_body() {
    let words: Vec<_> = sample().iter().map(ToString::to_string).collect();
    let keys: BTreeSet<_> = words
        .iter()
        .flat_map(|words| words.split(','))
        .map(|word| word.split('=').next().unwrap())
        .collect();
    assert_eq!(keys, BTreeSet::from(Fault::KEYS));
    // The error for an unknown body lists all bodies of the upstream that the sample is written
    // for; docs/sandbox.md lists those of others.
    let all = Fault::from_words("body=x", &sandbox::bodies(&emulated().endpoints))
        .unwrap_err()
        .to_string();
    let (all, _) = all.strip_prefix("body must be one of ").unwrap().split_once(';').unwrap();
    for body in all.split(", ") {
        assert!(words.iter().any(|words| words.contains(&format!("body={body},"))), "{body}");
    }
}

/// A sandbox that plays the sample, with its simulated clock.
async fn playing() -> (Sandbox, Arc<Simulation>) {
    let (clock, simulation) = Clock::simulated(WallTime::from_unix_seconds(1_700_000_000));
    let config = sandbox::Config { faults: sample(), ..emulated() };
    let bound = Sandbox::bind("127.0.0.1:0".parse().unwrap(), config, clock).await;
    (bound.unwrap(), simulation)
}

#[tokio::test]
async fn sample_outage_plays_as_described() {
    let (sandbox, clock) = playing().await;
    let mut seen = Vec::new();
    for later in [0, 25, 50, 10, 17, 10] {
        clock.suspend(Duration::from_secs(later));
        let answer = ask(&sandbox, DEMO_RESOURCE).await;
        seen.push((answer.status, answer.header("retry-after").map(str::to_owned)));
    }
    let (date, rest) = seen.split_last().unwrap();
    let answers = [(201, None), (503, None), (503, None), (201, None), (429, Some("5"))];
    assert_eq!(rest, answers.map(|(status, after)| (status, after.map(str::to_owned))));
    assert!(
        date.0 == 429 && date.1.as_ref().is_some_and(|date| date.ends_with(" GMT")),
        "{date:?}"
    );
}

#[tokio::test]
async fn sample_resource_has_its_own_faults() {
    let (sandbox, _) = playing().await;
    let own = format!("VJ{}", "F".repeat(32));
    assert_eq!(ask(&sandbox, &own).await.status, 201);
    let hanging = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { ask(&sandbox, &own).await.status }
    });
    until("the second one hangs", async || sandbox.counters().faults == 1).await;
    assert_eq!(sandbox.requests()[1].fault.as_ref().unwrap().split(',').next(), Some("hang"));
    hanging.abort();
}
