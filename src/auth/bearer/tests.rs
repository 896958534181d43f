//! Tests with tokens signed by test issuers and a simulated clock.

use std::net::Ipv4Addr;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use futures_util::FutureExt;
use jsonwebtoken::{EncodingKey, Header};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PublicKeyData};
use serde_json::{Value, json};

use super::*;
use crate::clock::Simulation;
use crate::listen::remote::Remote;

const NOW: i64 = 1_700_000_000;
const ISSUER: &str = "https://issuer.example.org";

/// An issuer's signing key.
struct Signer {
    kid: &'static str,
    key: KeyPair,
}

impl Signer {
    fn new(kid: &'static str) -> Self {
        Self { kid, key: KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap() }
    }

    fn jwk(&self) -> Value {
        let point = self.key.der_bytes();
        let encode = |part: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(part);
        let (x, y) = (encode(&point[1..33]), encode(&point[33..]));
        json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "x": x, "y": y})
    }

    /// Signs a token with these claims in addition to the defaults.
    fn sign(&self, more: &Value) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": "mint", "sub": "api", "iat": NOW, "exp": NOW + 600,
        });
        for (name, value) in more.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let kid = Some(self.kid.to_owned());
        let header = Header { kid, ..Header::new(jsonwebtoken::Algorithm::ES256) };
        let key = EncodingKey::from_ec_der(&self.key.serialize_der());
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }
}

fn known(issuer: &str, signers: &[&Signer]) -> IssuerInfo {
    let keys: Vec<_> = signers.iter().map(|it| it.jwk()).collect();
    let keys = KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap();
    let terms = Terms {
        audience: "mint".to_owned(),
        algorithms: Algorithms::DEFAULT,
        max_life: Duration::from_secs(3_600),
        trust_domain: None,
    };
    IssuerInfo { terms, issuer: issuer.to_owned(), keys: Arc::new(keys) }
}

struct World {
    bearers: Arc<Bearers>,
    simulation: Arc<Simulation>,
    peer: Arc<Peer>,
}

impl World {
    fn new(add: impl FnOnce(&mut Issuers, &Clock)) -> Self {
        let (clock, simulation) = Clock::simulated(WallTime::from_unix_seconds(NOW));
        let mut issuers = Issuers::default();
        add(&mut issuers, &clock);
        let bearers = Bearers::new(issuers, false, clock, &Metrics::default(), None);
        let from = Remote::Ip(Ipv4Addr::LOCALHOST.into());
        let peer = Peer { name: None, other_names: Vec::new(), certificate: None, from };
        Self { bearers: Arc::new(bearers), simulation, peer: Arc::new(peer) }
    }

    fn of(&self, token: &str) -> Bearer {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        self.bearers.of(&headers, &self.peer)
    }

    /// The caller's name, or why the token is refused.
    fn name(&self, token: &str) -> Result<String, Denied> {
        match self.of(token) {
            Bearer::Verified(session) => Ok(session.name().to_string()),
            Bearer::Refused(denied) => Err(denied),
            other => panic!("{other:?}"),
        }
    }
}

fn name(text: &str) -> IssuerName {
    IssuerName::parse(text).unwrap()
}

fn refused(cause: Cause) -> Result<String, Denied> {
    Err(Denied::Unauthenticated(cause))
}

#[tokio::test]
async fn cached_token_is_refused_after_expiry() {
    let signer = Signer::new("1");
    let world = World::new(|all, _| drop(all.add(name("okta"), known(ISSUER, &[&signer]))));
    let token = signer.sign(&json!({}));
    for _ in 0..2 {
        assert_eq!(world.name(&token), Ok("okta:api".to_owned()));
    }
    world.simulation.step_wall_forward(Duration::from_secs(604));
    assert_eq!(world.name(&token), Ok("okta:api".to_owned()), "within the leeway");
    world.simulation.step_wall_forward(Duration::from_secs(2));
    assert_eq!(world.name(&token), refused(Cause::Expired));
}

#[tokio::test]
async fn cached_token_is_verified_again_after_a_key_change() {
    let (first, second) = (Signer::new("1"), Signer::new("2"));
    let mut issuer = None;
    let world = World::new(|all, _| {
        issuer = Some(all.add(name("okta"), known(ISSUER, &[&first, &second])));
    });
    let (issuer, token) = (issuer.unwrap(), first.sign(&json!({})));
    assert!(world.name(&token).is_ok());
    issuer.publish(known(ISSUER, &[&second]));
    assert_eq!(world.name(&token), refused(Cause::UnknownKey));
    assert!(world.name(&second.sign(&json!({}))).is_ok());
}

#[tokio::test]
async fn issuers_keys_do_not_verify_tokens_of_other_issuers() {
    let (one, other) = (Signer::new("1"), Signer::new("2"));
    let namesake = Signer::new("1");
    let world = World::new(|all, _| {
        all.add(name("one"), known(ISSUER, &[&one]));
        all.add(name("other"), known("https://other.example.org", &[&other]));
    });
    assert_eq!(world.name(&one.sign(&json!({}))), Ok("one:api".to_owned()));
    assert_eq!(world.name(&other.sign(&json!({}))), refused(Cause::UnknownKey));
    assert_eq!(world.name(&namesake.sign(&json!({}))), refused(Cause::BadSignature));
    let of_other = json!({"iss": "https://other.example.org"});
    assert_eq!(world.name(&other.sign(&of_other)), Ok("other:api".to_owned()));
    assert_eq!(world.name(&one.sign(&of_other)), refused(Cause::UnknownKey));
    let of_third = json!({"iss": "https://third.example.org"});
    assert_eq!(world.name(&one.sign(&of_third)), refused(Cause::UnknownIssuer));
}

#[tokio::test]
async fn token_times_are_checked_with_a_leeway() {
    let signer = Signer::new("1");
    let world = World::new(|all, _| drop(all.add(name("okta"), known(ISSUER, &[&signer]))));
    for (claims, expected) in [
        (json!({"exp": NOW - 4}), None),
        (json!({"exp": NOW - 5}), Some(Cause::Expired)),
        (json!({"nbf": NOW + 5}), None),
        (json!({"nbf": NOW + 6}), Some(Cause::NotYetValid)),
        (json!({"exp": NOW + 3_600}), None),
        (json!({"exp": NOW + 3_601}), Some(Cause::TooLongLived)),
        (json!({"iat": NOW - 3_001}), Some(Cause::TooLongLived)),
        (json!({"iat": NOW + 3_600, "exp": NOW + 7_000}), Some(Cause::TooLongLived)),
        (json!({"aud": "other"}), Some(Cause::WrongAudience)),
        (json!({"aud": ["other", "mint"]}), None),
    ] {
        let cause = world.name(&signer.sign(&claims)).err();
        assert_eq!(cause, expected.map(Denied::Unauthenticated), "{claims}");
    }
}

#[tokio::test]
async fn bound_token_needs_its_certificate_even_when_cached() {
    let signer = Signer::new("1");
    let mut world = World::new(|all, _| drop(all.add(name("okta"), known(ISSUER, &[&signer]))));
    let (digest, other) = ([7; 32], [8; 32]);
    let bound = json!({"cnf": {"x5t#S256": BASE64_URL_SAFE_NO_PAD.encode(digest)}});
    let token = signer.sign(&bound);
    for (certificate, expected) in [
        (None, refused(Cause::NotBound)),
        (Some(digest), Ok("okta:api".to_owned())),
        (Some(other), refused(Cause::NotBound)),
        (None, refused(Cause::NotBound)),
    ] {
        let certificate = certificate.map(Fingerprint::of_digest);
        world.peer = Arc::new(Peer { certificate, ..(*world.peer).clone() });
        assert_eq!(world.name(&token), expected, "{certificate:?}");
    }
    let jkt = signer.sign(&json!({"cnf": {"jkt": "x"}}));
    assert_eq!(world.name(&jkt), refused(Cause::NotBound));
}

#[tokio::test]
async fn spiffe_id_must_be_in_the_issuers_trust_domain() {
    let signer = Signer::new("1");
    let world = World::new(|all, _| {
        let mut known = known(ISSUER, &[&signer]);
        known.terms.trust_domain = Some("prod.example.org".to_owned());
        all.add(name("spire"), known);
    });
    let of = |sub: &str| world.name(&signer.sign(&json!({"sub": sub})));
    assert_eq!(of("spiffe://prod.example.org/a"), Ok("spiffe://prod.example.org/a".to_owned()));
    for bad in ["spiffe://dev.example.org/a", "spiffe://prod.example.org", "api"] {
        assert_eq!(of(bad), refused(Cause::Malformed), "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn call_with_unknown_key_waits_for_one_fetch() {
    let (old, new, never) = (Signer::new("1"), Signer::new("2"), Signer::new("3"));
    let mut issuer = None;
    let world = World::new(|all, clock| {
        issuer =
            Some(all.add_fetched(name("okta"), Some(ISSUER.to_owned()), "mint".to_owned(), clock));
    });
    let issuer = issuer.unwrap();
    let fetcher = issuer.demand_receiver().unwrap();
    let later = || world.bearers.clock.now().boot + Duration::from_secs(300);
    let token = old.sign(&json!({}));
    assert!(matches!(world.name(&token), Err(Denied::Unverifiable { .. })), "no keys yet");
    fetcher.begin();
    issuer.publish(known(ISSUER, &[&old]));
    fetcher.end(true, later());
    assert!(world.name(&token).is_ok());

    let wait = |signer: &Signer| match world.of(&signer.sign(&json!({}))) {
        Bearer::Waiting(waiting) => Box::pin(waiting.verified(None)),
        other => panic!("{other:?}"),
    };
    let (mut first, mut second) = (wait(&new), wait(&never));
    assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
    assert!(fetcher.requested().now_or_never().is_some());
    fetcher.begin();
    let mut late = wait(&Signer::new("4"));
    assert!(late.as_mut().now_or_never().is_none(), "it joins the fetch in progress");
    issuer.publish(known(ISSUER, &[&old, &new]));
    fetcher.end(true, later());
    assert_eq!(first.await.unwrap().name().to_string(), "okta:api");
    assert_eq!(second.await.unwrap_err(), Denied::Unauthenticated(Cause::UnknownKey));
    // The fetch started before this call arrived, so it proves nothing about its key.
    assert!(late.as_mut().now_or_never().is_none());
    assert!(fetcher.requested().now_or_never().is_some(), "second fetch");
    let waited = tokio::time::timeout(Duration::from_secs(3), late).await.unwrap();
    assert!(matches!(waited, Err(Denied::Unverifiable { .. })), "{waited:?}");
    fetcher.begin();
    fetcher.end(false, later());
    let limited = wait(&Signer::new("5")).now_or_never();
    let Some(Err(Denied::Unverifiable { retry_in })) = limited else { panic!("{limited:?}") };
    assert!(retry_in <= Duration::from_secs(30) && retry_in > Duration::from_secs(20));
    assert!(world.name(&token).is_ok());
    issuer.lapse();
    assert!(matches!(world.name(&token), Err(Denied::Unverifiable { .. })), "a day later");
}

#[tokio::test]
async fn open_call_is_refused_after_its_key_is_withdrawn() {
    let (first, second) = (Signer::new("1"), Signer::new("2"));
    let mut issuer = None;
    let world = World::new(|all, _| {
        issuer = Some(all.add(name("okta"), known(ISSUER, &[&first, &second])));
    });
    let issuer = issuer.unwrap();
    let Bearer::Verified(session) = world.of(&first.sign(&json!({}))) else { panic!() };
    issuer.publish(known(ISSUER, &[&first]));
    assert_eq!(session.check(), Ok(()), "another key was withdrawn");
    issuer.publish(known(ISSUER, &[&second]));
    assert_eq!(session.check(), Err(Denied::Unauthenticated(Cause::UnknownKey)));
    assert_eq!(session.ended().await, Denied::Unauthenticated(Cause::UnknownKey));
}

#[tokio::test(start_paused = true)]
async fn setting_the_wall_clock_back_does_not_extend_a_token() {
    let signer = Signer::new("1");
    let world = World::new(|all, _| drop(all.add(name("okta"), known(ISSUER, &[&signer]))));
    let Bearer::Verified(session) = world.of(&signer.sign(&json!({}))) else { panic!() };
    world.simulation.step_wall_back(Duration::from_secs(3_600));
    tokio::time::advance(Duration::from_secs(599)).await;
    assert_eq!(session.check(), Ok(()));
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(session.check(), Err(Denied::Unauthenticated(Cause::Expired)));
}
