//! Keys that sign JWTs with an algorithm, and verify what they signed.

use std::fmt;

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, crypto, jwk::Jwk};
use serde::de::DeserializeOwned;

use super::{PrepareError, SignError};
use crate::settings::SigningSecret;

/// A key of one algorithm. Its `Debug` shows no key, and the key is zeroed on drop.
#[derive(Clone)]
pub struct JwtKey {
    algorithm: Algorithm,
    signs: EncodingKey,
    verifies: DecodingKey,
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
        Self { algorithm, signs, verifies }
    }

    /// A private key, which says its public one.
    ///
    /// # Errors
    ///
    /// It is no key of this algorithm.
    pub fn private(algorithm: Algorithm, key: EncodingKey) -> Result<Self, PrepareError> {
        let unusable = |_| PrepareError::KeyUnusable;
        let public = Jwk::from_encoding_key(&key, algorithm).map_err(unusable)?;
        let verifies = DecodingKey::from_jwk(&public).map_err(unusable)?;
        Ok(Self { algorithm, signs: key, verifies })
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What a signature costs, in units of an HMAC, as measured side by side.
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

    /// A signature of this message, in base64url.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub fn sign(&self, message: &[u8]) -> Result<String, SignError> {
        crypto::sign(message, &self.signs, self.algorithm).map_err(|_| SignError)
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
