//! Checks whether a key signed a token.

use jsonwebtoken::{Algorithm, DecodingKey, crypto::verify};

use super::Jwt;
use crate::settings::SigningSecret;

/// The key to check a signature with.
pub enum Key {
    /// The secret of an HMAC, used as its raw text.
    Secret(SigningSecret),
    /// The public key of a key pair.
    Public(DecodingKey),
}

/// The result of checking a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// The token is not signed.
    None,
    /// No key was given.
    NotChecked,
    /// A key of this type does not make such signatures.
    OtherKey,
    /// The key made the signature.
    Valid,
    /// The key did not make the signature, or not for this header and these claims.
    Invalid,
}

impl Jwt {
    /// The algorithm in its header, if it is a known one.
    #[must_use]
    pub fn signed_with(&self) -> Option<Algorithm> {
        self.algorithm().and_then(|name| name.parse().ok())
    }

    /// Checks the signature with a key.
    #[must_use]
    pub fn check(&self, key: Option<&Key>) -> Signature {
        match self.algorithm() {
            _ if self.signature.is_empty() => return Signature::None,
            Some(algorithm) if !algorithm.eq_ignore_ascii_case("none") => {}
            _ => return Signature::None,
        }
        let Some(key) = key else { return Signature::NotChecked };
        let of_secret;
        let (key, algorithm) = match (self.signed_with(), key) {
            (Some(algorithm), Key::Secret(secret)) if is_hmac(algorithm) => {
                of_secret = DecodingKey::from_secret(secret.expose().as_bytes());
                (&of_secret, algorithm)
            }
            (Some(algorithm), Key::Public(key)) if !is_hmac(algorithm) => (key, algorithm),
            _ => return Signature::OtherKey,
        };
        match verify(&self.signature, self.signed.as_bytes(), key, algorithm) {
            Ok(true) => Signature::Valid,
            Ok(false) | Err(_) => Signature::Invalid,
        }
    }
}

/// Whether a secret makes signatures of this algorithm.
#[must_use]
pub const fn is_hmac(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::{super::unsigned, *};

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::parse(text).unwrap()
    }

    #[test]
    fn signature_is_valid_only_with_its_secret_and_content() {
        let [own, other] =
            ["q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC", "q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxD"].map(secret);
        let key = EncodingKey::from_secret(own.expose().as_bytes());
        let [own, other] = [own, other].map(Key::Secret);
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let text =
                jsonwebtoken::encode(&Header::new(algorithm), &json!({"exp": 60}), &key).unwrap();
            let mut token = Jwt::decode(&text).unwrap();
            assert_eq!(token.check(Some(&own)), Signature::Valid, "{algorithm:?}");
            assert_eq!(token.check(Some(&other)), Signature::Invalid, "{algorithm:?}");
            assert_eq!(token.check(None), Signature::NotChecked, "{algorithm:?}");
            token.signed.push('x');
            assert_eq!(token.check(Some(&own)), Signature::Invalid, "{algorithm:?}");
        }
    }

    #[test]
    fn unsigned_or_foreign_algorithm_is_not_called_invalid() {
        let own = Key::Secret(secret("q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC"));
        for (alg, expected) in [
            (json!("none"), Signature::None),
            (json!("NONE"), Signature::None),
            (json!(7), Signature::None),
            (json!("ES384"), Signature::OtherKey),
        ] {
            let token = unsigned(&json!({"alg": alg}), &json!({}));
            assert_eq!(token.check(Some(&own)), expected, "{alg}");
        }
    }
}
