//! Whether the right key signed a token.

use grantmint::provider::twilio_live::ids::ApiKeySecret;
use jsonwebtoken::{Algorithm, DecodingKey, crypto::verify};

use super::token::Token;

/// What is known of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signature {
    /// There is none.
    None,
    /// Nobody gave the key.
    NotChecked,
    /// No secret makes such signatures, but a private key.
    NotBySecret,
    /// The key's.
    Right,
    /// Not the key's, or not of this header and these claims.
    Wrong,
}

impl Signature {
    pub(super) fn of(token: &Token, secret: Option<&ApiKeySecret>) -> Self {
        let algorithm = token.header.get("alg").and_then(|name| name.as_str());
        if token.signature.is_empty() || algorithm.is_none_or(|it| it.eq_ignore_ascii_case("none"))
        {
            return Self::None;
        }
        let Some(secret) = secret else { return Self::NotChecked };
        let algorithm = match algorithm {
            Some("HS256") => Algorithm::HS256,
            Some("HS384") => Algorithm::HS384,
            Some("HS512") => Algorithm::HS512,
            _ => return Self::NotBySecret,
        };
        // Twilio's secrets sign as the text that they are.
        let key = DecodingKey::from_secret(secret.expose().as_bytes());
        match verify(&token.signature, token.signed.as_bytes(), &key, algorithm) {
            Ok(true) => Self::Right,
            Ok(false) | Err(_) => Self::Wrong,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::NotChecked => "not_checked",
            Self::NotBySecret => "not_by_secret",
            Self::Right => "right",
            Self::Wrong => "wrong",
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::None => "none: anybody can make such a token",
            Self::NotChecked => "not checked; give the API key's secret with --key-file FILE",
            Self::NotBySecret => "not checked: no secret makes signatures of this alg",
            Self::Right => "right: the key's, and nothing was changed since",
            Self::Wrong => "WRONG: not this key's, or the token was changed",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::token::tests::{token, vectors},
        *,
    };

    fn key(secret: &str) -> ApiKeySecret {
        ApiKeySecret::parse(secret).unwrap()
    }

    #[test]
    fn every_librarys_signature_is_right_with_its_key_and_wrong_with_another() {
        let [own, other] =
            ["q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC", "q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxD"].map(key);
        for (id, jwt) in vectors() {
            let mut token = Token::decode(&jwt).unwrap();
            assert_eq!(Signature::of(&token, Some(&own)), Signature::Right, "{id}");
            assert_eq!(Signature::of(&token, Some(&other)), Signature::Wrong, "{id}");
            assert_eq!(Signature::of(&token, None), Signature::NotChecked, "{id}");
            token.signed.push('x');
            assert_eq!(Signature::of(&token, Some(&own)), Signature::Wrong, "{id}");
        }
    }

    #[test]
    fn what_no_secret_signs_is_not_called_wrong() {
        let own = key("q1W2e3R4t5Y6u7I8o9P0aSdFgHjKlZxC");
        for (alg, meant) in [
            (json!("none"), Signature::None),
            (json!("NONE"), Signature::None),
            (json!(7), Signature::None),
            (json!("ES384"), Signature::NotBySecret),
        ] {
            let token = token(&json!({"alg": alg}), &json!({}));
            assert_eq!(Signature::of(&token, Some(&own)), meant, "{alg}");
        }
    }
}
