//! An issuer's public keys (RFC 7517).

use std::fmt;

use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    algorithm::{Algorithm, Algorithms},
    json::object,
    token::{Token, decode},
};

/// The maximum number of keys in a set.
const MAX_KEYS: usize = 100;

/// The maximum number of keys tried for one token.
const MAX_TRIED: usize = 8;

/// The accepted sizes of an RSA modulus in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2_048..=8_192;

/// An issuer's keys.
pub struct KeySet {
    keys: Vec<Key>,
    /// Identifies the content of the set.
    digest: [u8; 32],
}

/// A key and the algorithms it is used with.
struct Key {
    kid: Option<String>,
    /// The algorithm from `alg`, or else all algorithms of the key type.
    algorithms: Algorithms,
    decoding: DecodingKey,
}

/// Why bytes are not a usable key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not a JSON object with `keys`.
    #[error("is not a JSON object with an array of keys")]
    NotASet,
    /// Too many keys.
    #[error("has more than {MAX_KEYS} keys")]
    TooMany,
}

/// The result of verifying a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Bad,
    /// No key has the token's key ID.
    UnknownKey,
}

impl KeySet {
    /// Parses a set. Keys that are not for verifying signatures or of an unsupported type are
    /// skipped. The result may be empty: an issuer that withdraws its last key publishes an empty
    /// set.
    pub fn parse(text: &[u8]) -> Result<Self, KeySetError> {
        let set = object(text).ok_or(KeySetError::NotASet)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(KeySetError::NotASet)?;
        if keys.len() > MAX_KEYS {
            return Err(KeySetError::TooMany);
        }
        let keys: Vec<_> = keys.iter().filter_map(|it| Key::read(it.as_object()?)).collect();
        Ok(Self { keys, digest: Sha256::digest(text).into() })
    }

    /// The number of usable keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are no usable keys.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether both were parsed from the same bytes.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Verifies a token's signature. If the token names a key, only keys with that ID or without an
    /// ID are tried.
    pub(super) fn verify(&self, token: &Token<'_>) -> Verdict {
        let is_candidate =
            |key: &&Key| token.kid.is_none() || key.kid.is_none() || key.kid == token.kid;
        let candidates: Vec<_> = self.keys.iter().filter(is_candidate).collect();
        let mut usable = candidates.iter().filter(|key| key.algorithms.has(token.algorithm));
        if usable.by_ref().take(MAX_TRIED).any(|key| key.verifies(token)) {
            return Verdict::Good;
        }
        let is_known = token.kid.is_none() || candidates.iter().any(|key| key.kid == token.kid);
        if is_known { Verdict::Bad } else { Verdict::UnknownKey }
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Key {
    /// Parses a key; `None` if it is not usable for verification.
    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let is_for = |name: &str, wanted: &str| match jwk.get(name) {
            None => true,
            Some(Value::Array(all)) => all.iter().any(|it| it == wanted),
            Some(one) => one == wanted,
        };
        if !is_for("use", "sig") || !is_for("key_ops", "verify") {
            return None;
        }
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let coordinate = |name: &str, length: usize| {
            decode(text(name)?).filter(|it| it.len() == length)?;
            text(name)
        };
        let (of_type, decoding) = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let (n, e) = (decode(text("n")?)?, decode(text("e")?)?);
                if !RSA_BITS.contains(&bits(&n)) {
                    return None;
                }
                (Algorithms::RSA, DecodingKey::from_rsa_raw_components(&n, &e))
            }
            ("EC", Some(curve)) => {
                let (algorithm, length) = match curve {
                    "P-256" => (Algorithm::ES256, 32),
                    "P-384" => (Algorithm::ES384, 48),
                    _ => return None,
                };
                let (x, y) = (coordinate("x", length)?, coordinate("y", length)?);
                (Algorithms::one(algorithm), DecodingKey::from_ec_components(x, y).ok()?)
            }
            ("OKP", Some("Ed25519")) => {
                let x = coordinate("x", 32)?;
                (Algorithms::one(Algorithm::EdDSA), DecodingKey::from_ed_components(x).ok()?)
            }
            _ => return None,
        };
        let algorithms = match jwk.get("alg") {
            None => of_type,
            Some(alg) => {
                let pinned = match alg.as_str()? {
                    // The name from RFC 9864.
                    "Ed25519" => Algorithm::EdDSA,
                    alg => Algorithm::parse(alg).ok()?,
                };
                Some(Algorithms::one(pinned)).filter(|_| of_type.has(pinned))?
            }
        };
        let kid = match jwk.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str()?.to_owned()),
        };
        Some(Self { kid, algorithms, decoding })
    }

    fn verifies(&self, token: &Token<'_>) -> bool {
        let algorithm = token.algorithm.of_jsonwebtoken();
        let (signed, signature) = (token.signed.as_bytes(), token.signature);
        jsonwebtoken::crypto::verify(signature, signed, &self.decoding, algorithm).unwrap_or(false)
    }
}

/// The bit length of a number without leading zeros.
fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let first = number.get(zeros).map_or(0, |byte| byte.leading_zeros() as usize);
    (number.len() - zeros) * 8 - first
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    fn number(length: usize, first: u8) -> String {
        let mut bytes = vec![0x5a; length];
        bytes[0] = first;
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn usable(keys: &Value) -> Result<usize, KeySetError> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).map(|set| set.len())
    }

    fn merged(base: &Value, more: &Value) -> Value {
        let mut merged = base.clone();
        for (name, value) in more.as_object().unwrap() {
            merged[name] = value.clone();
        }
        merged
    }

    #[test]
    fn unsuitable_and_weak_keys_are_skipped() {
        let rsa = json!({"kty": "RSA", "kid": "1", "n": number(256, 0x80), "e": "AQAB"});
        let ec = json!({"kty": "EC", "crv": "P-256", "x": number(32, 1), "y": number(32, 1)});
        let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": number(32, 1)});
        for good in [
            rsa.clone(),
            ec.clone(),
            ed.clone(),
            merged(&rsa, &json!({"use": "sig", "alg": "PS384", "key_ops": ["verify"]})),
            merged(&ed, &json!({"alg": "Ed25519"})),
            merged(&ec, &json!({"key_ops": ["sign", "verify"], "x5c": ["?"]})),
        ] {
            assert_eq!(usable(&json!([good])), Ok(1), "{good}");
        }
        for bad in [
            merged(&rsa, &json!({"use": "enc"})),
            merged(&rsa, &json!({"use": 1})),
            merged(&rsa, &json!({"key_ops": ["encrypt"]})),
            merged(&rsa, &json!({"key_ops": []})),
            merged(&rsa, &json!({"alg": "HS256"})),
            merged(&rsa, &json!({"alg": "none"})),
            merged(&rsa, &json!({"alg": "ES256"})),
            merged(&rsa, &json!({"alg": "RSA-OAEP"})),
            merged(&rsa, &json!({"kid": 1})),
            merged(&rsa, &json!({"n": number(256, 0x7f)})),
            merged(&rsa, &json!({"n": number(257, 0)})),
            merged(&rsa, &json!({"n": number(2_048, 0x80)})),
            merged(&rsa, &json!({"n": "AQ=="})),
            merged(&ec, &json!({"alg": "ES384"})),
            merged(&ec, &json!({"crv": "secp256k1"})),
            merged(&ec, &json!({"x": number(31, 1)})),
            merged(&ed, &json!({"crv": "X25519"})),
            json!({"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}),
            json!({"kty": "AKP", "alg": "ML-DSA-44"}),
            json!({}),
            json!(1),
        ] {
            assert_eq!(usable(&json!([bad])), Ok(0), "{bad}");
            assert_eq!(usable(&json!([bad, ed])), Ok(1), "{bad}");
        }
        assert_eq!(usable(&json!(vec![ed; 101])), Err(KeySetError::TooMany));
        for text in ["", "[]", "{}", r#"{"keys": {}}"#, r#"{"keys": [], "keys": []}"#] {
            assert!(KeySet::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
