//! A caller's tokens are queued for the audit log before they are returned.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value as Json};

use super::*;
use crate::{
    audit::Audit,
    auth::usage::Quota,
    clock::Clock,
    drain::drain,
    mint::{
        Grants, Limits,
        bulk::{Bulk, Selection},
        minter::{Allowed, Cause, Key, Minter, Parts, Plan, Profile, Supply},
        options::Options,
        profile::Signing,
    },
    name::{Identity, ProfileName, Resource},
    rpc::access::CallerQuota,
    telemetry::ProfileMetrics,
    token::{
        CurrentSigner, Speed,
        claims::{Id, Table, Time, Value},
        hs256::Template,
        id::Serials,
        params::Parameters,
    },
};

/// A key profile whose tokens have ids or not.
fn minter(with_ids: bool) -> Arc<Minter> {
    let mut table = Table::new(Map::from_iter([("alg".to_owned(), "HS256".into())]));
    table.add(&["exp"], Value::Time(Time::Expire)).unwrap();
    table.add(&["sub"], Value::Identity).unwrap();
    if with_ids {
        table.add(&["jti"], Value::Id(Id::Serial)).unwrap();
    }
    let signer = CurrentSigner::new(Box::new(Template::new(&table, None, b"key").unwrap()));
    let secs = Duration::from_secs;
    let lobby = Resource::parse("lobby").unwrap();
    let profile = Profile {
        name: ProfileName::parse("rooms").unwrap(),
        default_resource: Some(lobby.clone()),
        parse_resource: Resource::parse,
        token_ttl: secs(600),
        min_token_ttl: secs(60),
        max_token_ttl: secs(3_600),
        margin: secs(2),
        identity_form: None,
        parameters: Parameters::default(),
        units: 1,
        signing: Signing::Own(Speed::Fast),
        metrics: ProfileMetrics::default(),
        supply: Supply::Key(Key {
            signer,
            resources: Allowed { listed: vec![lobby], patterns: Vec::new(), unscoped: false },
            iat_backdate: secs(0),
            reuse_for: None,
            signing_time: secs(0),
        }),
    };
    let parts = Parts {
        limits: Limits::default(),
        serials: Serials::draw().unwrap(),
        pool: None,
        clock: Clock::system(),
        drain: drain().1,
    };
    let name = Some(profile.name.clone());
    Arc::new(Minter::new(vec![profile], name, &Grants::default(), parts))
}

fn plan(minter: &Minter) -> Plan {
    let options = Options::default();
    minter.draft(&minter.target(&options), &options).unwrap().plan(None).unwrap()
}

fn recorded(audit: &Audit) -> Vec<Json> {
    audit.queued().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn tokens_are_recorded_before_they_are_returned() {
    let audit = Audit::for_tests();
    let access = Access::of_anybody().recorded_in(&audit);
    let identity = Identity::parse("alice").unwrap();
    for with_ids in [true, false] {
        let minter = minter(with_ids);
        let quota = CallerQuota::new(&access, Quota::Tokens);
        let token = minter.mint(&plan(&minter), &identity, None, &quota).await.ok().unwrap();
        let [record] = &recorded(&audit)[..] else { panic!("one record") };
        assert_eq!(record["token_id"], token.token_id);
        assert_eq!(record["token_id"].as_str().unwrap().starts_with("sha256:"), !with_ids);
        let fields = (&record["identity"], &record["profile"], &record["resource"]);
        assert_eq!(fields, (&"alice".into(), &"rooms".into(), &"lobby".into()));

        let quota = Arc::new(CallerQuota::new(access.clone(), Quota::BulkTokens));
        let selection = Selection::series("viewer-".to_owned(), 30).unwrap();
        let minter = Arc::clone(&minter);
        let plan = plan(&minter);
        let mut bulk = Bulk::new(minter, plan, selection, 5, 10, None, quota);
        drop(bulk.next_chunk().await.unwrap());
        assert_eq!(audit.queued(), "", "dropped before it was signed");
        let chunk = bulk.next_chunk().await.unwrap().unwrap();
        let mut ids = chunk.ids();
        let tokens = chunk.tokens().map(|token| token.inspect(|token| ids.add(token)).unwrap());
        let tokens: Vec<_> = tokens.map(|token| token.fingerprint()).collect();
        chunk.spend(&ids);
        let [record] = &recorded(&audit)[..] else { panic!("one record") };
        let fields = (&record["prefix"], &record["first_index"], &record["count"]);
        assert_eq!(fields, (&"viewer-".into(), &15.into(), &10.into()));
        if with_ids {
            assert_ne!(record["first_token_id"], record["last_token_id"]);
            assert!(record["token_ids"].is_null());
        } else {
            let all: Vec<_> = tokens.iter().map(Fingerprint::as_str).collect();
            assert_eq!(record["token_ids"], serde_json::json!(all));
        }
    }
}

#[tokio::test]
async fn unrecordable_token_is_not_minted() {
    let audit = Audit::for_tests();
    let access = Access::of_anybody().recorded_in(&audit);
    let minter = minter(true);
    let names: Vec<_> =
        (0..10_000).map(|it| Identity::parse(format!("{it:0>256}")).unwrap()).collect();
    let all = audit::Recipients::List(&names, 0);
    let places: Vec<_> = std::iter::from_fn(|| audit.reserve(&all).ok()).collect();
    let rest = [names[0].clone()];
    let small = audit::Recipients::List(&rest, 0);
    let more: Vec<_> = std::iter::from_fn(|| audit.reserve(&small).ok()).collect();
    let quota = CallerQuota::new(&access, Quota::Tokens);
    let (plan, identity) = (plan(&minter), &names[0]);
    let unserved = minter.mint(&plan, identity, None, &quota).await.err().unwrap();
    assert_eq!(unserved.cause, Cause::Unrecorded);
    let refused = recorded(&audit);
    assert_eq!(refused[0]["reason"], "AUDIT_UNAVAILABLE", "{refused:?}");
    drop((places, more));
    assert!(minter.mint(&plan, identity, None, &quota).await.is_ok());
}
