//! Assertions: JWTs that prove to an upstream who asks (RFC 7523), signed anew for each attempt.

use std::{fmt, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Validation, jwk::Jwk};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::key::{self, KeyError};
use crate::clock::WallTime;

/// How an assertion is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alg {
    /// RSA, PKCS#1, SHA-256.
    Rs256,
    /// P-256, SHA-256.
    Es256,
    /// HMAC, SHA-256, under the profile's secret.
    Hs256,
}

/// What a claim's value is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Claim {
    /// Always this.
    Constant(Value),
    /// When it is signed, less this.
    Now {
        /// How far back.
        back: Duration,
    },
    /// Its end.
    Exp,
    /// A random UUID.
    Uuid,
    /// The resource.
    Resource,
}

/// An assertion that could not be made. It holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the assertion cannot be signed")]
pub(super) struct NotSigned;

/// Makes assertions. Its `Debug` shows no key, and the key is zeroed on drop.
#[derive(Clone)]
pub(super) struct Assertion {
    alg: Alg,
    ttl: Duration,
    header: Map<String, Value>,
    claims: Vec<(String, Claim)>,
    key: EncodingKey,
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Assertion").field("alg", &self.alg).finish_non_exhaustive()
    }
}

impl Alg {
    /// Its name in a header.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::Hs256 => "HS256",
        }
    }

    /// The algorithm of this name.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        [Self::Rs256, Self::Es256, Self::Hs256]
            .into_iter()
            .find(|alg| alg.name() == text)
            .ok_or("is none of RS256, ES256 and HS256")
    }

    /// Takes a key of it.
    pub(super) fn key(self, text: &str) -> Result<EncodingKey, KeyError> {
        match self {
            Self::Rs256 => key::rsa(text),
            Self::Es256 => key::ec(text),
            Self::Hs256 => Ok(EncodingKey::from_secret(text.as_bytes())),
        }
    }

    const fn algorithm(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Es256 => Algorithm::ES256,
            Self::Hs256 => Algorithm::HS256,
        }
    }
}

impl Assertion {
    /// Assertions with these headers and claims that live for `ttl`, under `key`. One is signed
    /// and verified first.
    ///
    /// # Errors
    ///
    /// The key does not sign, or what it signs does not verify.
    pub(super) fn new(
        alg: Alg,
        header: Map<String, Value>,
        claims: Vec<(String, Claim)>,
        ttl: Duration,
        key: EncodingKey,
    ) -> Result<Self, NotSigned> {
        let header = header.into_iter().filter(|(name, _)| name != "alg").collect();
        let assertion = Self { alg, ttl, header, claims, key };
        let signed = assertion.sign(WallTime::from_unix_seconds(0), "self-test")?;
        assertion.verified(&signed).ok_or(NotSigned)?;
        Ok(assertion)
    }

    /// One, signed now.
    ///
    /// # Errors
    ///
    /// The key does not sign, or there is no randomness.
    pub(super) fn sign(
        &self,
        now: WallTime,
        resource: &str,
    ) -> Result<Zeroizing<String>, NotSigned> {
        let seconds = |at: WallTime| Value::from(at.unix_seconds());
        let mut header = self.header.clone();
        header.entry("typ").or_insert_with(|| "JWT".into());
        header.insert("alg".to_owned(), self.alg.name().into());
        let mut claims = Map::new();
        for (name, claim) in &self.claims {
            let value = match claim {
                Claim::Constant(value) => value.clone(),
                Claim::Now { back } => seconds(now - *back),
                Claim::Exp => seconds(now + self.ttl),
                Claim::Uuid => uuid()?.into(),
                Claim::Resource => resource.into(),
            };
            claims.insert(name.clone(), value);
        }
        let part = |members: Map<String, Value>| {
            BASE64_URL_SAFE_NO_PAD.encode(Value::Object(members).to_string())
        };
        let message = Zeroizing::new(format!("{}.{}", part(header), part(claims)));
        let algorithm = self.alg.algorithm();
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &self.key, algorithm);
        let signature = Zeroizing::new(signature.map_err(|_| NotSigned)?);
        Ok(Zeroizing::new(format!("{}.{}", *message, *signature)))
    }

    /// The claims of an assertion that this key signed; its times are not looked at.
    pub(super) fn verified(&self, assertion: &str) -> Option<Map<String, Value>> {
        let algorithm = self.alg.algorithm();
        let key = match self.alg {
            Alg::Hs256 => DecodingKey::from_secret(self.key.as_bytes()),
            _ => DecodingKey::from_jwk(&Jwk::from_encoding_key(&self.key, algorithm).ok()?).ok()?,
        };
        let mut validation = Validation::new(algorithm);
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Some(jsonwebtoken::decode(assertion, &key, &validation).ok()?.claims)
    }

    /// Its claims.
    pub(super) fn claims(&self) -> &[(String, Claim)] {
        &self.claims
    }
}

/// A random UUID (RFC 9562, version 4).
fn uuid() -> Result<String, NotSigned> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| NotSigned)?;
    let mut number = u128::from_be_bytes(bytes);
    number &= !(0xf000 << 64) & !(0xc000 << 48);
    number |= (0x4000 << 64) | (0x8000 << 48);
    let digits = format!("{number:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    Ok(parts.map(|part| digits.get(part).unwrap_or_default().to_owned()).join("-"))
}
