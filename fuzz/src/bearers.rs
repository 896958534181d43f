//! Credentials and key sets of arbitrary bytes.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use grantmint::{
    auth::{
        bearer::{Algorithms, Bearer, Bearers, IssuerInfo, Issuers, KeySet, Terms},
        name::IssuerName,
        peer::Peer,
        refusal::Denied,
    },
    clock::Clock,
    listen::remote::Remote,
    telemetry::Metrics,
};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

/// A public key; no fuzzer knows its private key.
const KEYS: &[u8] = br#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "1",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

/// Any authorization header is refused with a cause; any key set is keys or an error. The first
/// byte selects which one to try.
pub fn bearer_token(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    if which % 2 == 1 {
        let _ = KeySet::parse(data);
        return;
    }
    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let terms = Terms {
        audience: "mint".to_owned(),
        algorithms: Algorithms::DEFAULT,
        max_life: Duration::MAX,
        trust_domain: None,
    };
    let keys = Arc::new(KeySet::parse(KEYS).expect("a key"));
    let name = IssuerName::parse("okta").expect("a name");
    let mut issuers = Issuers::default();
    issuers.add(name, IssuerInfo { terms, issuer: "i".to_owned(), keys });
    let bearers = Bearers::new(issuers, false, Clock::system(), &Metrics::default(), None);
    let from = Remote::Ip(Ipv4Addr::LOCALHOST.into());
    let peer = Arc::new(Peer { name: None, other_names: Vec::new(), certificate: None, from });
    let headers = HeaderMap::from_iter([(AUTHORIZATION, value)]);
    match Arc::new(bearers).of(&headers, &peer) {
        Bearer::Refused(Denied::Unauthenticated(_)) => {}
        other => panic!("not refused: {other:?}"),
    }
}
