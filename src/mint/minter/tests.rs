//! Profiles that mint with a key alone.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::{
    drain::drain,
    grant::Generation,
    mint::{
        bulk::{Bulk, Selection},
        options::{Attainable, Field, Invalid, Violation},
        quota::{QuotaError, Taken, Unlimited, WaitPermit, Wanted},
        terms::ExpiryPolicy,
    },
    name::{Pattern, Resource},
    telemetry::ProfileMetrics,
    token::{
        CurrentSigner,
        claims::{Id, Table, Time, Value},
        hs256::Template,
        params::Parameters,
    },
};

mod forwarded;

const KEY: &[u8] = b"key";

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn resource(text: &str) -> Resource {
    Resource::parse(text).unwrap()
}

/// A key profile that lists one room and allows others by pattern.
fn minter(default: Option<&str>, unscoped: bool) -> Minter {
    with_floor(default, unscoped, secs(60))
}

fn with_floor(default: Option<&str>, unscoped: bool, min_token_ttl: Duration) -> Minter {
    let header = Map::from_iter([("alg".to_owned(), "HS256".into())]);
    let mut table = Table::new(header);
    table.add(&["iat"], Value::Time(Time::Issue { back: 10 })).unwrap();
    table.add(&["exp"], Value::Time(Time::Expire)).unwrap();
    table.add(&["room"], Value::Resource).unwrap();
    table.add(&["sub"], Value::Identity).unwrap();
    table.add(&["jti"], Value::Id(Id::Serial)).unwrap();
    let signer = CurrentSigner::new(Box::new(Template::new(&table, None, KEY).unwrap()));
    let patterns = vec![Pattern::parse("room-*").unwrap()];
    let resources = Allowed { listed: vec![resource("lobby")], patterns, unscoped };
    let name = ProfileName::parse("rooms").unwrap();
    let profile = Profile {
        name: name.clone(),
        default_resource: default.map(resource),
        parse_resource: Resource::parse,
        token_ttl: secs(600),
        min_token_ttl,
        max_token_ttl: secs(3_600),
        margin: secs(2),
        identity_form: None,
        parameters: Parameters::default(),
        units: 1,
        signing: Signing::Own(Speed::Fast),
        metrics: ProfileMetrics::default(),
        supply: Supply::Key(Key {
            signer,
            resources,
            iat_backdate: secs(10),
            reuse_for: None,
            signing_time: secs(0),
        }),
    };
    Minter::new(vec![profile], Some(name), &Grants::default(), parts(Clock::system()))
}

fn parts(clock: Clock) -> Parts {
    let (limits, serials) = (Limits::default(), Serials::draw().unwrap());
    Parts { limits, serials, pool: None, clock, drain: drain().1 }
}

fn plan(minter: &Minter, options: &Options<'_>) -> Result<Plan, Refusal> {
    minter.draft(&minter.target(options), options)?.plan(None)
}

fn violations(minter: &Minter, options: &Options<'_>) -> Vec<Violation> {
    match plan(minter, options) {
        Err(Refusal::Invalid(bad)) => bad,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn key_profile_mints_without_a_grant() {
    let minter = minter(None, false);
    for policy in ExpiryPolicy::ALL {
        let options = Options {
            resource: "room-1",
            policy: Some(policy),
            max_wait: Some(Duration::ZERO),
            min_remaining: secs(588),
            ..Options::default()
        };
        let plan = plan(&minter, &options).unwrap();
        assert_eq!(plan.grant_name(), "");
        let identity = Identity::parse("alice").unwrap();
        let Minted { token, token_id, terms } =
            minter.mint(&plan, &identity, None, &Unlimited).await.unwrap();

        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        let key = DecodingKey::from_secret(KEY);
        let claims = jsonwebtoken::decode::<Json>(token, &key, &validation).unwrap().claims;
        let issue = terms.issue.unix_seconds();
        let expected = json!({
            "iat": issue - 10, "exp": terms.expire.unix_seconds(), "room": "room-1",
            "sub": "alice", "jti": token_id,
        });
        assert_eq!(claims, expected);
        assert_eq!(terms.expire, WallTime::from_unix_seconds(issue + 590), "the full ttl");
        assert_eq!(terms.use_within, secs(588));
        assert_eq!(terms.use_by, terms.issue + secs(588));
        assert_eq!(terms.generation, Generation::NONE);
    }
}

#[test]
fn resource_is_listed_matched_or_explicitly_unscoped() {
    let planned =
        |minter: &Minter, resource| plan(minter, &Options { resource, ..Options::default() });
    let rooms = minter(None, false);
    for known in ["lobby", "room-", "room-1"] {
        assert_eq!(planned(&rooms, known).unwrap().call().resource, known);
    }
    assert_eq!(planned(&rooms, "cellar").unwrap_err(), Refusal::ResourceNotFound);
    let bad = violations(&rooms, &Options::default());
    assert_eq!((&bad[0].field, bad[0].invalid), (&Field::Resource, Invalid::ResourceRequired));
    assert_eq!(planned(&minter(Some("lobby"), false), "").unwrap().call().resource, "lobby");
    assert_eq!(planned(&minter(None, true), "").unwrap().call().resource, "");
}

#[test]
fn minimum_ttl_covers_backdate_margin_and_rounding() {
    // Ten seconds of backdate, two of margin and one of rounding.
    let minter = with_floor(Some("lobby"), false, Duration::ZERO);
    let ttl = |ttl| Options { ttl: Some(secs(ttl)), ..Options::default() };
    let bad = violations(&minter, &ttl(12));
    assert_eq!(bad[0].attainable, Some(Attainable::Min(secs(13))));
    assert!(plan(&minter, &ttl(13)).is_ok());
}

#[test]
fn unattainable_request_reports_the_attainable_value() {
    let minter = minter(Some("lobby"), false);
    let ttl = |ttl| Options { ttl: Some(secs(ttl)), ..Options::default() };
    for (options, field, invalid, attainable) in [
        (ttl(59), Field::Ttl, Invalid::TtlOutOfRange, Some(Attainable::Min(secs(60)))),
        (ttl(3_601), Field::Ttl, Invalid::TtlOutOfRange, Some(Attainable::Max(secs(3_600)))),
        (
            Options { min_remaining: secs(49), ..ttl(60) },
            Field::MinRemaining,
            Invalid::ValidityUnattainable,
            Some(Attainable::Max(secs(48))),
        ),
        (
            Options { after_generation: 1, ..Options::default() },
            Field::AfterGeneration,
            Invalid::Generation,
            None,
        ),
    ] {
        let bad = violations(&minter, &options);
        let [violation] = bad.as_slice() else { panic!("{bad:?}") };
        assert_eq!((&violation.field, violation.invalid), (&field, invalid));
        assert_eq!(violation.attainable, attainable);
    }
}

/// Allows everything, and charges part of it.
#[derive(Debug, Default)]
struct Charged(AtomicU64);

impl Quota for Charged {
    fn take(&self, wanted: &Wanted<'_>) -> Result<Taken, QuotaError> {
        let units = wanted.max.min(7);
        self.0.fetch_add(units, Ordering::Relaxed);
        Ok(Taken { tokens: wanted.max, units, record: None })
    }

    fn give_back(&self, units: u64) {
        self.0.fetch_sub(units, Ordering::Relaxed);
    }

    fn wait_for_grant(&self) -> Option<WaitPermit> {
        None
    }

    fn wait_for_units(&self) -> Option<WaitPermit> {
        None
    }
}

#[tokio::test]
async fn charge_for_an_unsigned_chunk_is_refunded() {
    let minter = Arc::new(minter(Some("lobby"), false));
    let plan = plan(&minter, &Options::default()).unwrap();
    let selection = Selection::series("viewer-".to_owned(), 30).unwrap();
    let quota = Arc::new(Charged::default());
    let mut bulk = Bulk::new(minter, plan, selection, 0, 10, None, quota.clone());
    let charged = || quota.0.load(Ordering::Relaxed);
    let unsigned = bulk.next_chunk().await.unwrap().unwrap();
    assert_eq!((unsigned.count(), charged()), (10, 7));
    drop(unsigned);
    assert_eq!(charged(), 0, "dropped before it was signed");
    let signed = bulk.next_chunk().await.unwrap().unwrap();
    assert_eq!(signed.tokens().flatten().count(), 10);
    let ids = signed.ids();
    signed.spend(&ids);
    assert_eq!(charged(), 7);
}
