//! JWT keys of one algorithm, which sign and verify.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, crypto};
use serde::de::DeserializeOwned;

use super::{
    SignError,
    private::{KeyError, PrivateKey},
};
use crate::settings::SigningSecret;

/// A key of one algorithm. `Debug` does not print the key, and it is zeroed on drop.
#[derive(Clone)]
pub struct JwtKey {
    algorithm: Algorithm,
    signs: Signing,
    verifies: DecodingKey,
}

#[derive(Clone)]
enum Signing {
    /// `jsonwebtoken` signs.
    Secret(EncodingKey),
    /// Signed here: `jsonwebtoken` would parse the key for each token.
    Private(Arc<PrivateKey>),
}

/// Where a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// In the call's task.
    Fast,
    /// In the pool: it would block the task's thread, and so other calls, for too long.
    Slow,
}

impl JwtKey {
    /// An HMAC key from the raw bytes of a secret.
    #[must_use]
    pub fn hmac(algorithm: Algorithm, secret: &SigningSecret) -> Self {
        Self::hmac_of(algorithm, secret.expose().as_bytes())
    }

    /// An HMAC key from these bytes.
    #[must_use]
    pub fn hmac_of(algorithm: Algorithm, secret: &[u8]) -> Self {
        let (signs, verifies) =
            (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        Self { algorithm, signs: Signing::Secret(signs), verifies }
    }

    /// A private key; its public half verifies.
    #[must_use]
    pub fn private(key: PrivateKey) -> Self {
        let (algorithm, verifies) = (key.algorithm(), key.public());
        Self { algorithm, signs: Signing::Private(Arc::new(key)), verifies }
    }

    /// Parses a private key in any supported form.
    ///
    /// # Errors
    ///
    /// The text is not a private key for this algorithm.
    pub fn parse_private(text: &str, algorithm: Algorithm) -> Result<Self, KeyError> {
        PrivateKey::parse(text, algorithm).map(Self::private)
    }

    /// The algorithm's name in headers.
    #[must_use]
    pub const fn algorithm_name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::HS256 => "HS256",
            Algorithm::HS384 => "HS384",
            Algorithm::HS512 => "HS512",
            Algorithm::ES256 => "ES256",
            Algorithm::ES384 => "ES384",
            Algorithm::RS256 => "RS256",
            Algorithm::RS384 => "RS384",
            Algorithm::RS512 => "RS512",
            Algorithm::PS256 => "PS256",
            Algorithm::PS384 => "PS384",
            Algorithm::PS512 => "PS512",
            Algorithm::EdDSA => "EdDSA",
            // A later version may add algorithms.
            _ => "unknown",
        }
    }

    /// The cost of a signature in quota units; an HMAC costs one.
    #[must_use]
    pub const fn units(&self) -> u32 {
        match self.algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => 1,
            Algorithm::EdDSA => 15,
            Algorithm::ES256 => 35,
            Algorithm::ES384 => 120,
            // RSA. Unknown algorithms are assumed to be expensive.
            _ => 400,
        }
    }

    /// Where its signatures are made.
    #[must_use]
    pub const fn speed(&self) -> Speed {
        match self.algorithm {
            Algorithm::HS256
            | Algorithm::HS384
            | Algorithm::HS512
            | Algorithm::EdDSA
            | Algorithm::ES256 => Speed::Fast,
            // ES384 and RSA. Unknown algorithms are assumed to be slow.
            _ => Speed::Slow,
        }
    }

    /// Signs the message; returns the signature in base64url.
    ///
    /// # Errors
    ///
    /// Signing failed.
    pub fn sign(&self, message: &[u8]) -> Result<String, SignError> {
        match &self.signs {
            Signing::Secret(key) => {
                crypto::sign(message, key, self.algorithm).map_err(|_| SignError)
            }
            Signing::Private(key) => Ok(URL_SAFE_NO_PAD.encode(key.sign(message)?)),
        }
    }

    /// The token's header and claims; none if this key did not sign it. Times are not checked,
    /// since that would use the system's clock.
    #[must_use]
    pub fn read<T: DeserializeOwned + Clone>(
        &self,
        token: &str,
    ) -> Option<jsonwebtoken::TokenData<T>> {
        let mut validation = Validation::new(self.algorithm);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        jsonwebtoken::decode(token, &self.verifies, &validation).ok()
    }
}

impl fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}
