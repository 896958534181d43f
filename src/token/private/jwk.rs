//! Private keys as JWKs (RFC 7517, 7518, 8037).

use aws_lc_rs::{
    rsa::{KeyPairComponents, PublicKeyComponents},
    signature::{EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, RsaKeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{KeyError, Type, refused};

/// A decoded number or secret.
type Bytes = Zeroizing<Vec<u8>>;

/// The members of a private key, still encoded.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    crv: Option<String>,
    d: Option<Zeroizing<String>>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    p: Option<Zeroizing<String>>,
    q: Option<Zeroizing<String>>,
    dp: Option<Zeroizing<String>>,
    dq: Option<Zeroizing<String>>,
    qi: Option<Zeroizing<String>>,
}

/// Parses a private key in JWK form.
pub(super) fn private(text: &str) -> Result<Jwk, KeyError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let jwk: Jwk = serde_json::from_str(text)
        .map_err(|_| if text.contains("\"keys\"") { KeyError::Several } else { KeyError::NoKey })?;
    if jwk.d.is_none() && jwk.kty != "oct" { Err(KeyError::Public) } else { Ok(jwk) }
}

impl Jwk {
    pub(super) fn of_type(&self) -> Type {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Type::Rsa,
            ("EC", Some("P-256")) => Type::P256,
            ("EC", Some("P-384")) => Type::P384,
            ("EC", _) => Type::OtherCurve,
            ("OKP", Some("Ed25519")) => Type::Ed25519,
            ("oct", _) => Type::Symmetric,
            _ => Type::Other,
        }
    }

    pub(super) fn rsa(&self) -> Result<RsaKeyPair, KeyError> {
        let components = KeyPairComponents {
            public_key: PublicKeyComponents {
                n: decoded(self.n.as_deref())?,
                e: decoded(self.e.as_deref())?,
            },
            d: secret(self.d.as_ref())?,
            p: secret(self.p.as_ref())?,
            q: secret(self.q.as_ref())?,
            dP: secret(self.dp.as_ref())?,
            dQ: secret(self.dq.as_ref())?,
            qInv: secret(self.qi.as_ref())?,
        };
        RsaKeyPair::from_components(&components).map_err(|error| refused(&error))
    }

    pub(super) fn ecdsa(
        &self,
        algorithm: &'static EcdsaSigningAlgorithm,
    ) -> Result<EcdsaKeyPair, KeyError> {
        const UNCOMPRESSED: u8 = 4;
        let (x, y) = (decoded(self.x.as_deref())?, decoded(self.y.as_deref())?);
        let public = [&[UNCOMPRESSED][..], &x, &y].concat();
        EcdsaKeyPair::from_private_key_and_public_key(algorithm, &secret(self.d.as_ref())?, &public)
            .map_err(|_| KeyError::Damaged)
    }

    pub(super) fn ed25519(&self) -> Result<Ed25519KeyPair, KeyError> {
        let (seed, public) = (secret(self.d.as_ref())?, decoded(self.x.as_deref())?);
        Ed25519KeyPair::from_seed_and_public_key(&seed, &public).map_err(|_| KeyError::Damaged)
    }
}

fn secret(text: Option<&Zeroizing<String>>) -> Result<Bytes, KeyError> {
    decoded(text.map(|text| text.as_str()))
}

fn decoded(text: Option<&str>) -> Result<Bytes, KeyError> {
    let text = text.ok_or(KeyError::Damaged)?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    bytes.map(Zeroizing::new).map_err(|_| KeyError::Damaged)
}
