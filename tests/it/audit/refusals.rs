//! Refused calls are recorded and cannot fill the disk.

use grantmint::{provider::twilio_live::DEMO_RESOURCE, rpc::proto::RefreshGrantRequest};
use serde_json::Value as Json;

use super::{Audited, complete_records, minted};
use crate::{
    support::{found, reason, soon, until},
    tls::{
        Client,
        pki::{Pki, uris},
    },
};

const CALLERS: &str = "[callers.demo]\nmatch = [\"loopback\"]\n\
                       allow = [{ profiles = [\"*\"], identities = [\"viewer-*\", \"first\"] }]";

#[tokio::test]
async fn refusals_are_aggregated_each_second_after_the_first() {
    let audited = Audited::new("", CALLERS);
    let serve = audited.serve().await;
    let mut client = serve.tokens().await;
    for _ in 0..500 {
        let refused = minted(&mut client, "mallory").await.expect_err("refused");
        assert_eq!(reason(&refused), "IDENTITY_NOT_ALLOWED");
    }
    let of_refusals = || {
        let mut all = complete_records(&audited.file);
        all.retain(|record| record["event"] == "refused");
        all
    };
    let refused = |record: &Json| record["count"].as_u64().unwrap_or(1);
    until("all are recorded", async || of_refusals().iter().map(refused).sum::<u64>() == 500).await;
    let all = of_refusals();
    assert!(all.len() < 100, "{} records", all.len());
    let (sums, firsts): (Vec<_>, Vec<_>) = all.iter().partition(|it| it["count"].is_number());
    assert!(!sums.is_empty() && !firsts.is_empty());
    for record in firsts {
        assert_eq!((&record["caller"], &record["peer"]), (&"loopback".into(), &"127.0.0.1".into()));
    }
    for record in &all {
        let reported = (&record["entry"], &record["method"], &record["reason"]);
        assert_eq!(reported, (&"demo".into(), &"MintToken".into(), &"IDENTITY_NOT_ALLOWED".into()));
    }
}

#[tokio::test]
async fn refresh_record_has_outcome_and_failure_reason() {
    let audited = Audited::new("", "");
    let serve = audited.serve().await;
    let mut grants = serve.grants().await;
    let name = format!("profiles/demo/grants/{DEMO_RESOURCE}");
    let mut refresh = async || {
        let request = RefreshGrantRequest { name: name.clone() };
        soon(grants.refresh_grant(request)).await
    };
    until("it is refreshed", async || {
        refresh()
            .await
            .is_ok_and(|it| it.into_inner().grant.is_some_and(|it| it.last_fault.is_none()))
    })
    .await;
    let held = refresh().await.expect_err("it was refreshed just now");
    assert_eq!(reason(&held), "UPSTREAM_THROTTLED");
    serve.set_fault("status=401").await;
    until("it is tried again", async || refresh().await.is_ok()).await;

    let none = Json::Null;
    for (event, outcome, reason, grant) in [
        ("refresh", "ok".into(), none.clone(), name.as_str().into()),
        ("refresh", "failed".into(), "HTTP_STATUS_401".into(), name.as_str().into()),
        // No attempt was made: this is a refusal, and there may be many.
        ("refused", none.clone(), "UPSTREAM_THROTTLED".into(), none),
    ] {
        let is_it = |it: &Json| {
            (&it["event"], &it["outcome"]) == (&event.into(), &outcome) && it["reason"] == reason
        };
        let record = found(&format!("a record of {event}, {reason}"), async || {
            complete_records(&audited.file).into_iter().find(is_it)
        })
        .await;
        let reported = (&record["grant"], &record["method"], &record["peer"]);
        let meant = (&grant, &"RefreshGrant".into(), &"127.0.0.1".into());
        assert_eq!(reported, meant, "{record}");
    }
}

#[tokio::test]
async fn authentication_failures_sum_by_network_and_cause() {
    let pki = Pki::new();
    let file = pki.path("audit.jsonl");
    let audit = format!("[audit]\nfile = \"{}\"\n{CALLERS}", file.display());
    let serve = pki.serve(&audit).await;
    // A name of another trust domain, which the certificate's authority may not issue.
    let forged = pki.prod.issue(uris(&["spiffe://dev.example.org/ns/media/sa/api"]));
    let stranger = Client::with(&pki, &[&forged]);
    for _ in 0..40 {
        assert!(stranger.try_connect(&serve).await.is_err());
    }
    let sums = || {
        let mut all = complete_records(&file);
        all.retain(|record| record["reason"] == "unknown_ca");
        all
    };
    let counted = |sums: &[Json]| sums.iter().filter_map(|it| it["count"].as_u64()).sum::<u64>();
    until("all are recorded", async || counted(&sums()) == 40).await;
    for sum in sums() {
        let reported = (&sum["event"], &sum["peer"], &sum["method"]);
        assert_eq!(reported, (&"refused".into(), &"127.0.0.1".into(), &Json::Null));
    }
    assert!(sums().len() < 20, "{} records of 40 failures", sums().len());
}
