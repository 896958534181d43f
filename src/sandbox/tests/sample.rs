//! The sample scenario tells the truth.

use std::collections::BTreeSet;

use super::{super::fault::KEYS, *};

const SAMPLE: &str = include_str!("../../../scenario.toml");

fn sample() -> Vec<Fault> {
    scenario::parse("scenario.toml", SAMPLE).unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn it_has_every_key_and_every_body() {
    let words: Vec<_> = sample().iter().map(ToString::to_string).collect();
    let keys: BTreeSet<_> = words
        .iter()
        .flat_map(|words| words.split(','))
        .map(|word| word.split('=').next().unwrap())
        .collect();
    assert_eq!(keys, BTreeSet::from(KEYS));
    // The refusal of a bad one names all.
    let all = "body=x".parse::<Fault>().unwrap_err().to_string();
    let (all, _) = all.strip_prefix("body must be one of ").unwrap().split_once(';').unwrap();
    for body in all.split(", ") {
        assert!(words.iter().any(|words| words.contains(&format!("body={body},"))), "{body}");
    }
}

#[tokio::test]
async fn its_outage_plays_as_it_says() {
    let (sandbox, clock) = clocked(Config { faults: sample(), ..Config::demo() }).await;
    let mut seen = Vec::new();
    for later in [0, 25, 50, 10, 17, 10] {
        clock.suspend(Duration::from_secs(later));
        let reply = ask(&sandbox).await;
        let after = reply.headers.get(header::RETRY_AFTER).map(|after| after.to_str().unwrap());
        seen.push((reply.status.as_u16(), after.map(str::to_owned)));
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
async fn a_resource_of_its_has_faults_of_its_own() {
    let (sandbox, _) = clocked(Config { faults: sample(), ..Config::demo() }).await;
    let own = wire::path(&format!("VJ{}", "F".repeat(32)));
    let credential = basic(DEMO_API_KEY_SID, DEMO_API_KEY_SECRET);
    let reply = within(send(&sandbox, Method::POST, &own, Some(&credential), FORM)).await;
    assert_eq!(reply.unwrap().status, 201);
    let hanging = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { send(&sandbox, Method::POST, &own, Some(&credential), FORM).await.is_ok() }
    });
    until(&sandbox, |counters| counters.faults == 1).await;
    assert_eq!(sandbox.requests()[1].fault.as_ref().unwrap().split(',').next(), Some("hang"));
    hanging.abort();
}
