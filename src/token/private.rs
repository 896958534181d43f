//! Private keys, parsed once, in every form in which they are distributed: PKCS#8, PKCS#1 and SEC1
//! PEM, base64 of a PEM, a JWK, base64 of a JWK, and a PEM with escaped line breaks.
//!
//! Formats: RFC 5208 (PKCS#8), RFC 8017 (PKCS#1), RFC 5915 (SEC1), RFC 7517 and 7518 (JWK).

mod der;
mod jwk;
mod pem;
#[cfg(test)]
mod tests;

use std::fmt;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384,
        RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaEncoding, RsaKeyPair,
    },
};
use jsonwebtoken::{Algorithm, DecodingKey, jwk::Jwk};
use zeroize::Zeroizing;

use super::SignError;

/// Why a text is not a usable private key. Does not contain the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a known form of a key.
    #[error("is not a private key: expected PEM, a JWK, or base64 of either")]
    NoKey,
    /// PEM without a private key.
    #[error("is PEM, but holds no private key")]
    OtherPem,
    /// A public key.
    #[error("is a public key; the private key is required")]
    Public,
    /// A key in OpenSSH's format.
    #[error("is in OpenSSH format; convert it to PEM with ssh-keygen -p -m PEM")]
    OpenSsh,
    /// Not a key that can verify.
    #[error("cannot verify signatures: expected a public or a private key")]
    NotPublic,
    /// An encrypted key.
    #[error("is an encrypted private key; remove its password")]
    Encrypted,
    /// Several keys.
    #[error("holds several private keys or a key set; keep only the signing key")]
    Several,
    /// A key of another type or curve.
    #[error("is {found}, and {algorithm:?} needs {needed}")]
    OtherType {
        /// The key that was found.
        found: &'static str,
        /// The algorithm it should sign with.
        algorithm: Algorithm,
        /// The key that the algorithm needs.
        needed: &'static str,
    },
    /// An RSA key of fewer than 2,048 bits.
    #[error("is an RSA key of fewer than 2048 bits")]
    TooShort,
    /// A damaged private key.
    #[error("is damaged: not a valid private key")]
    Damaged,
}

/// The type of a key, and its curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Rsa,
    P256,
    P384,
    OtherCurve,
    Ed25519,
    Symmetric,
    Other,
}

impl Type {
    /// Describes a key of this type.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Rsa => "an RSA key",
            Self::P256 => "a key on the curve P-256",
            Self::P384 => "a key on the curve P-384",
            Self::OtherCurve => "a key on another curve",
            Self::Ed25519 => "an Ed25519 key",
            Self::Symmetric => "a symmetric key",
            Self::Other => "a key of another type",
        }
    }

    /// The type of key that signs with this algorithm; none if no private key does.
    const fn of(algorithm: Algorithm) -> Option<Self> {
        match algorithm {
            Algorithm::RS256
            | Algorithm::RS384
            | Algorithm::RS512
            | Algorithm::PS256
            | Algorithm::PS384
            | Algorithm::PS512 => Some(Self::Rsa),
            Algorithm::ES256 => Some(Self::P256),
            Algorithm::ES384 => Some(Self::P384),
            Algorithm::EdDSA => Some(Self::Ed25519),
            _ => None,
        }
    }
}

/// A key in the form in which it was found, not yet parsed.
enum Form {
    Pkcs8(Zeroizing<Vec<u8>>),
    Pkcs1(Zeroizing<Vec<u8>>),
    Sec1(Zeroizing<Vec<u8>>),
    Jwk(Box<jwk::Jwk>),
}

impl Form {
    /// The type of the key, if the form states it.
    fn of_type(&self) -> Option<Type> {
        match self {
            Self::Pkcs8(der) => der::type_of_pkcs8(der),
            Self::Pkcs1(_) => Some(Type::Rsa),
            Self::Sec1(der) => der::curve_of_sec1(der),
            Self::Jwk(jwk) => Some(jwk.of_type()),
        }
    }
}

/// A private key of one algorithm, ready to sign. `Debug` does not print the key, and it is zeroed
/// on drop.
pub struct PrivateKey {
    algorithm: Algorithm,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair, &'static dyn RsaEncoding),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl PrivateKey {
    /// Parses a private key for an algorithm, in any supported form.
    ///
    /// # Errors
    ///
    /// The text is not such a key.
    pub fn parse(text: &str, algorithm: Algorithm) -> Result<Self, KeyError> {
        let form = form(text)?;
        let needed = Type::of(algorithm).ok_or(KeyError::OtherPem)?;
        match form.of_type() {
            Some(found) if found != needed => {
                let (found, needed) = (found.as_str(), needed.as_str());
                return Err(KeyError::OtherType { found, algorithm, needed });
            }
            _ => {}
        }
        let pair = match needed {
            Type::Rsa => Pair::Rsa(rsa(&form)?, padding(algorithm)),
            Type::P256 => Pair::Ecdsa(ecdsa(&form, &ECDSA_P256_SHA256_FIXED_SIGNING)?),
            Type::P384 => Pair::Ecdsa(ecdsa(&form, &ECDSA_P384_SHA384_FIXED_SIGNING)?),
            _ => Pair::Ed25519(ed25519(&form)?),
        };
        Ok(Self { algorithm, pair })
    }

    /// The algorithm.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Signs the message; returns the signature in JWT form (for ECDSA both numbers, not DER).
    ///
    /// # Errors
    ///
    /// Signing failed.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair, padding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let signed = pair.sign(*padding, &random, message, &mut signature);
                signed.map(|()| signature).map_err(|_| SignError)
            }
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&random, message).map_err(|_| SignError)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }

    /// The public half, for `jsonwebtoken`.
    pub(super) fn public(&self) -> DecodingKey {
        match &self.pair {
            Pair::Rsa(pair, _) => DecodingKey::from_rsa_der(pair.public_key().as_ref()),
            Pair::Ecdsa(pair) => DecodingKey::from_ec_der(pair.public_key().as_ref()),
            Pair::Ed25519(pair) => DecodingKey::from_ed_der(pair.public_key().as_ref()),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// The key that verifies signatures of an algorithm, from a public key (PEM or JWK, or base64 of
/// one) or from the private key.
///
/// # Errors
///
/// The text is not such a key.
pub fn verifying_key(text: &str, algorithm: Algorithm) -> Result<DecodingKey, KeyError> {
    match PrivateKey::parse(text, algorithm) {
        Err(KeyError::Public) => {}
        parsed => return parsed.map(|key| key.public()),
    }
    let decoded = pem::base64_text(text);
    let text = decoded.as_ref().map_or(text, |text| text.as_str());
    if !text.contains("-----BEGIN ") {
        let jwk: Jwk = serde_json::from_str(text).map_err(|_| KeyError::Damaged)?;
        return DecodingKey::from_jwk(&jwk).map_err(|_| KeyError::Damaged);
    }
    let needed = Type::of(algorithm).ok_or(KeyError::NotPublic)?;
    if let (Type::Rsa, Some(der)) = (needed, pem::public_pkcs1(text)) {
        return Ok(DecodingKey::from_rsa_der(&der));
    }
    let der = pem::public(text).ok_or(KeyError::NotPublic)?;
    let (found, key) = der::public(&der).ok_or(KeyError::Damaged)?;
    if found != needed {
        let (found, needed) = (found.as_str(), needed.as_str());
        return Err(KeyError::OtherType { found, algorithm, needed });
    }
    Ok(match needed {
        Type::Rsa => DecodingKey::from_rsa_der(key),
        Type::Ed25519 => DecodingKey::from_ed_der(key),
        _ => DecodingKey::from_ec_der(key),
    })
}

/// The single private key in a text.
fn form(text: &str) -> Result<Form, KeyError> {
    if let Some(form) = plain_form(text) {
        return form;
    }
    let decoded = pem::base64_text(text).ok_or(KeyError::NoKey)?;
    plain_form(&decoded).unwrap_or(Err(KeyError::NoKey))
}

/// The single private key in a text that is not base64; none if it holds no key.
fn plain_form(text: &str) -> Option<Result<Form, KeyError>> {
    if text.contains("-----BEGIN ") {
        Some(pem::private(text))
    } else if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
        Some(jwk::private(text).map(|jwk| Form::Jwk(Box::new(jwk))))
    } else {
        None
    }
}

fn rsa(form: &Form) -> Result<RsaKeyPair, KeyError> {
    match form {
        Form::Pkcs8(der) => RsaKeyPair::from_pkcs8(der).map_err(|error| refused(&error)),
        Form::Pkcs1(der) => RsaKeyPair::from_der(der).map_err(|error| refused(&error)),
        Form::Jwk(jwk) => jwk.rsa(),
        Form::Sec1(_) => Err(KeyError::Damaged),
    }
}

fn ecdsa(form: &Form, algorithm: &'static EcdsaSigningAlgorithm) -> Result<EcdsaKeyPair, KeyError> {
    let pair = match form {
        Form::Pkcs8(der) => EcdsaKeyPair::from_pkcs8(algorithm, der),
        Form::Sec1(der) => EcdsaKeyPair::from_private_key_der(algorithm, der),
        Form::Jwk(jwk) => return jwk.ecdsa(algorithm),
        Form::Pkcs1(_) => return Err(KeyError::Damaged),
    };
    pair.map_err(|_| KeyError::Damaged)
}

fn ed25519(form: &Form) -> Result<Ed25519KeyPair, KeyError> {
    match form {
        Form::Pkcs8(der) => Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyError::Damaged),
        Form::Jwk(jwk) => jwk.ed25519(),
        Form::Pkcs1(_) | Form::Sec1(_) => Err(KeyError::Damaged),
    }
}

/// Why a well-formed RSA key is refused.
fn refused(error: &aws_lc_rs::error::KeyRejected) -> KeyError {
    if error.to_string() == "TooSmall" { KeyError::TooShort } else { KeyError::Damaged }
}

fn padding(algorithm: Algorithm) -> &'static dyn RsaEncoding {
    match algorithm {
        Algorithm::RS384 => &RSA_PKCS1_SHA384,
        Algorithm::RS512 => &RSA_PKCS1_SHA512,
        Algorithm::PS256 => &RSA_PSS_SHA256,
        Algorithm::PS384 => &RSA_PSS_SHA384,
        Algorithm::PS512 => &RSA_PSS_SHA512,
        _ => &RSA_PKCS1_SHA256,
    }
}
