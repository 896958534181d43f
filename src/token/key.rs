//! Keys that sign JWTs with an algorithm, and verify what they signed.

use std::{fmt, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, crypto};
use serde::de::DeserializeOwned;

use super::{
    SignError,
    private::{KeyError, PrivateKey},
};
use crate::settings::SigningSecret;

/// A key of one algorithm. Its `Debug` shows no key, and the key is zeroed on drop.
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
    /// We do: `jsonwebtoken` would parse the key for each token.
    Private(Arc<PrivateKey>),
}

/// Where a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// In the task of the call.
    Fast,
    /// In the pool: it would keep the task's thread, and so other calls, for too long.
    Slow,
}

impl JwtKey {
    /// An HMAC under the raw bytes of a secret.
    #[must_use]
    pub fn hmac(algorithm: Algorithm, secret: &SigningSecret) -> Self {
        Self::hmac_of(algorithm, secret.expose().as_bytes())
    }

    /// An HMAC under these bytes, whatever they are.
    #[must_use]
    pub fn hmac_of(algorithm: Algorithm, secret: &[u8]) -> Self {
        let (signs, verifies) =
            (EncodingKey::from_secret(secret), DecodingKey::from_secret(secret));
        Self { algorithm, signs: Signing::Secret(signs), verifies }
    }

    /// A private key, whose public half verifies.
    #[must_use]
    pub fn private(key: PrivateKey) -> Self {
        let (algorithm, verifies) = (key.algorithm(), key.public());
        Self { algorithm, signs: Signing::Private(Arc::new(key)), verifies }
    }

    /// A private key in any of its forms.
    ///
    /// # Errors
    ///
    /// The text is no private key of this algorithm.
    pub fn parse_private(text: &str, algorithm: Algorithm) -> Result<Self, KeyError> {
        PrivateKey::parse(text, algorithm).map(Self::private)
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The algorithm, as headers name it.
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
            // A later version may know more.
            _ => "unknown",
        }
    }

    /// What a signature is charged, in the units that quotas are counted in; an HMAC is one.
    #[must_use]
    pub const fn units(&self) -> u32 {
        match self.algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => 1,
            Algorithm::EdDSA => 15,
            Algorithm::ES256 => 35,
            Algorithm::ES384 => 120,
            // RSA; what is not known is not cheap.
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
            // ES384 and RSA; what is not known is not fast.
            _ => Speed::Slow,
        }
    }

    /// A signature of this message, in base64url.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn sign(&self, message: &[u8]) -> Result<String, SignError> {
        match &self.signs {
            Signing::Secret(key) => {
                crypto::sign(message, key, self.algorithm).map_err(|_| SignError)
            }
            Signing::Private(key) => Ok(URL_SAFE_NO_PAD.encode(key.sign(message)?)),
        }
    }

    /// A token's header and claims; none where this key did not sign it. Its times are not
    /// looked at: that would be by the system's clock.
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
