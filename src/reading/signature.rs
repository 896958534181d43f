//! Whether the right key signed a token.

use jsonwebtoken::{Algorithm, DecodingKey, crypto::verify};

use super::Jwt;
use crate::settings::SigningSecret;

/// What a signature is checked with.
pub enum Key {
    /// The secret of an HMAC, which signs as the text that it is.
    Secret(SigningSecret),
    /// The public half of a key pair.
    Public(DecodingKey),
}

/// What is known of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signature {
    /// There is none.
    None,
    /// Nobody gave the key.
    NotChecked,
    /// Such signatures are not made with such a key.
    OtherKey,
    /// The key's.
    Right,
    /// Not the key's, or not of this header and these claims.
    Wrong,
}

impl Jwt {
    /// The algorithm that it says it is signed with, where it is signed with one that is known.
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
            Ok(true) => Signature::Right,
            Ok(false) | Err(_) => Signature::Wrong,
        }
    }
}

/// Whether a secret makes signatures of it.
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
    fn a_signature_is_right_with_its_secret_and_wrong_with_another_or_once_changed() {
        let [own, other] =
            ["q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC", "q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxD"].map(secret);
        let key = EncodingKey::from_secret(own.expose().as_bytes());
        let [own, other] = [own, other].map(Key::Secret);
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let text =
                jsonwebtoken::encode(&Header::new(algorithm), &json!({"exp": 60}), &key).unwrap();
            let mut token = Jwt::decode(&text).unwrap();
            assert_eq!(token.check(Some(&own)), Signature::Right, "{algorithm:?}");
            assert_eq!(token.check(Some(&other)), Signature::Wrong, "{algorithm:?}");
            assert_eq!(token.check(None), Signature::NotChecked, "{algorithm:?}");
            token.signed.push('x');
            assert_eq!(token.check(Some(&own)), Signature::Wrong, "{algorithm:?}");
        }
    }

    #[test]
    fn what_no_secret_signs_is_not_called_wrong() {
        let own = Key::Secret(secret("q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC"));
        for (alg, meant) in [
            (json!("none"), Signature::None),
            (json!("NONE"), Signature::None),
            (json!(7), Signature::None),
            (json!("ES384"), Signature::OtherKey),
        ] {
            let token = unsigned(&json!({"alg": alg}), &json!({}));
            assert_eq!(token.check(Some(&own)), meant, "{alg}");
        }
    }
}
