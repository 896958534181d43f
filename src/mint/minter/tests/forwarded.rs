//! Profiles that return their grants unchanged.

use super::*;
use crate::{
    grant::{Grant, cell::Publisher},
    mint::bulk::End,
    name::GrantName,
    token::{CurrentFormat, Preparer, id::fingerprint, verbatim::Verbatim},
};

/// A minter of one shared credential, and the publisher of its grant.
fn shared(grant_ttl: Option<Duration>) -> (Arc<Minter>, Publisher<Preparer>) {
    let (name, clock) = (ProfileName::parse("shared").unwrap(), Clock::system());
    let grant = GrantName { profile: name.clone(), resource: resource("default") };
    let mut grants = Grants::default();
    let publisher = grants.add(
        grant,
        secs(2),
        Preparer::new(CurrentFormat::new(Arc::new(Verbatim)), clock.clone()),
    );
    let profile = Profile {
        name: name.clone(),
        default_resource: Some(resource("default")),
        parse_resource: Resource::parse,
        token_ttl: Duration::MAX,
        min_token_ttl: Duration::ZERO,
        max_token_ttl: Duration::MAX,
        margin: secs(2),
        identity_form: None,
        parameters: Parameters::default(),
        units: 1,
        signing: Signing::Own(Speed::Fast),
        metrics: ProfileMetrics::default(),
        supply: Supply::Forwarded(Forwarded { resources: vec![resource("default")], grant_ttl }),
    };
    let minter = Minter::new(vec![profile], Some(name), &grants, parts(clock));
    (Arc::new(minter), publisher)
}

fn publish(minter: &Minter, publisher: &mut Publisher<Preparer>, text: &str, ttl: u64) -> i64 {
    let now = minter.clock.now();
    let generation = Generation::after(publisher.generation(), now.wall);
    let _ = publisher.publish(Grant::new(text.into(), now, secs(ttl), generation));
    generation.get()
}

#[tokio::test]
async fn every_call_gets_the_same_grant_until_it_expires() {
    let (minter, mut publisher) = shared(None);
    let generation = publish(&minter, &mut publisher, "bearer-a", 3_600);
    let life = publisher.life().unwrap();
    let clamp = Some(ExpiryPolicy::ClampToGrant);
    let plan = plan(&minter, &Options { policy: clamp, ..Options::default() }).unwrap();
    assert_eq!(plan.grant_name(), "profiles/shared/grants/default");
    for identity in ["alice", "bob"] {
        let identity = Identity::parse(identity).unwrap();
        let Minted { token, token_id, terms } =
            minter.mint(&plan, &identity, None, &Unlimited).await.unwrap();
        assert_eq!((&*token, token_id), ("bearer-a", fingerprint("bearer-a")));
        let expiry = life.end(life.anchor);
        assert_eq!(terms.expire, WallTime::from_unix_seconds(expiry.unix_seconds()));
        // The two clocks are read one after the other.
        let (use_by, expected) = (terms.use_by, expiry - secs(2));
        assert!(use_by.since(expected).max(expected.since(use_by)) < Duration::from_millis(500));
        assert_eq!(terms.generation.get(), generation);
    }
    let selection = Selection::series("viewer-".to_owned(), 3).unwrap();
    let mut bulk = Bulk::new(Arc::clone(&minter), plan, selection, 1, 0, None, Arc::new(Unlimited));
    let chunk = bulk.next_chunk().await.unwrap().unwrap();
    let tokens: Vec<_> = chunk.tokens().map(|token| String::from(token.unwrap())).collect();
    assert_eq!((chunk.first_index(), tokens), (1, vec!["bearer-a".to_owned(); 2]));
    assert!(bulk.next_chunk().await.unwrap().is_none());
}

#[test]
fn call_cannot_set_the_expiry_of_a_forwarded_grant() {
    let (minter, mut publisher) = shared(None);
    publish(&minter, &mut publisher, "a", 60);
    for ttl in [0, 1, 60, 1_000_000].map(secs) {
        let bad = violations(&minter, &Options { ttl: Some(ttl), ..Options::default() });
        let [violation] = bad.as_slice() else { panic!("{bad:?}") };
        assert_eq!((&violation.field, violation.invalid), (&Field::Ttl, Invalid::Option));
    }
    for policy in [ExpiryPolicy::RequireFullTtl, ExpiryPolicy::Independent] {
        let bad = violations(&minter, &Options { policy: Some(policy), ..Options::default() });
        let [violation] = bad.as_slice() else { panic!("{bad:?}") };
        let violated = (&violation.field, violation.invalid);
        assert_eq!(violated, (&Field::ExpiryPolicy, Invalid::PolicyNotAllowed));
    }
}

#[test]
fn attainable_validity_follows_requested_or_last_grant_ttl() {
    let at_least = |seconds| Options { min_remaining: secs(seconds), ..Options::default() };
    let attainable = |minter: &Minter| {
        let bad = violations(minter, &at_least(1_000_000));
        let [violation] = bad.as_slice() else { panic!("{bad:?}") };
        assert_eq!(violation.invalid, Invalid::ValidityUnattainable);
        violation.attainable
    };
    let (configured, mut publisher) = shared(Some(secs(60)));
    publish(&configured, &mut publisher, "a", 30);
    assert_eq!(attainable(&configured), Some(Attainable::Max(secs(56))));
    assert!(plan(&configured, &at_least(56)).is_ok());

    let (reported, mut publisher) = shared(None);
    assert!(plan(&reported, &at_least(1_000_000)).is_ok(), "unknown before the first response");
    publish(&reported, &mut publisher, "a", 3_600);
    assert_eq!(attainable(&reported), Some(Attainable::Max(secs(3_598))));
    publish(&reported, &mut publisher, "b", 60);
    assert_eq!(attainable(&reported), Some(Attainable::Max(secs(58))));
}

#[tokio::test]
async fn after_generation_excludes_the_same_grant() {
    let (minter, mut publisher) = shared(None);
    let after_generation = publish(&minter, &mut publisher, "a", 60);
    let now = Some(Duration::ZERO);
    let options = Options { after_generation, max_wait: now, ..Options::default() };
    let (plan, identity) = (plan(&minter, &options).unwrap(), Identity::parse("alice").unwrap());
    let unserved = minter.mint(&plan, &identity, None, &Unlimited).await.err().unwrap();
    assert_eq!(unserved.cause, Cause::GrantNotNewer);
    publish(&minter, &mut publisher, "b", 60);
    assert_eq!(minter.mint(&plan, &identity, None, &Unlimited).await.ok().unwrap().token, "b");
}

#[tokio::test]
async fn changed_ttl_limit_applies_to_the_next_chunk() {
    let (minter, mut publisher) = shared(None);
    publish(&minter, &mut publisher, "a", 3_600);
    let end = publisher.life().unwrap();
    let end = end.end(end.anchor).unix_seconds();
    let plan = plan(&minter, &Options::default()).unwrap();
    let selection = Selection::series("viewer-".to_owned(), 3).unwrap();
    let mut bulk = Bulk::new(Arc::clone(&minter), plan, selection, 0, 1, None, Arc::new(Unlimited));

    bulk.change(Some(secs(4_000)), Arc::new(Unlimited));
    let chunk = bulk.next_chunk().await.unwrap().unwrap();
    assert_eq!(chunk.terms().expire.unix_seconds(), end, "a token expires with its grant");
    bulk.change(Some(secs(60)), Arc::new(Unlimited));
    let Err(End::Unserved(unserved)) = bulk.next_chunk().await else { panic!("served") };
    assert_eq!(unserved.cause, Cause::LivesTooLong(secs(60)));
    bulk.change(None, Arc::new(Unlimited));
    assert_eq!(bulk.next_chunk().await.unwrap().unwrap().first_index(), 1);
}
