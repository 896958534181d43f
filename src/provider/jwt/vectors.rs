//! Profiles with test keys: one for each signing method that differs in cost. There are no vectors,
//! since the profiles determine the content of these tokens.

use serde_json::Value;

use super::KIND;
use crate::provider::vectors::{MintRequest, Setup, VectorError};

const KEYS: &str = include_str!("../../../tests/vectors/keys.json");

/// For the HMAC, which accepts any string.
const SECRET: &str = "public-test-secret-of-the-self-test-only";

const CLAIMS: &str = "[profiles.own.claims]\nsub = { from = \"identity\" }\n\
                      iat = { from = \"now\" }\nexp = { from = \"exp\" }\njti = { from = \"token_id\" }\n";

pub(super) fn samples() -> Result<Vec<(&'static str, Setup)>, VectorError> {
    let keys: Value = serde_json::from_str(KEYS)?;
    let samples = [
        ("HS256", "key_env", None),
        ("EdDSA", "private_key_env", Some("ed25519_pkcs8")),
        ("ES256", "private_key_env", Some("p256_pkcs8")),
        ("ES384", "private_key_env", Some("p384_pkcs8")),
        ("RS256", "private_key_env", Some("rsa_pkcs8")),
    ];
    let samples = samples.into_iter().map(|(algorithm, key, name)| {
        let secret = match name {
            None => SECRET.to_owned(),
            Some(name) => {
                let key = keys.get(name).and_then(Value::as_str);
                key.ok_or(VectorError::Missing(name))?.to_owned()
            }
        };
        let profile = format!(
            "[profiles.own]\nkind = \"{KIND}\"\nalg = \"{algorithm}\"\n{key} = \"KEY\"\n{CLAIMS}"
        );
        let identity = Some("grantmint".to_owned());
        let request = MintRequest { now: 1_700_000_000, identity, ..MintRequest::default() };
        Ok((algorithm, Setup { profile, secret, request }))
    });
    samples.collect()
}
