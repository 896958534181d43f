//! Private keys that assertions are signed with: PKCS#8 or PKCS#1 PEM, or base64 of a PEM.
//!
//! RFC 5208 and RFC 8017 have the formats.

#[cfg(test)]
mod tests;

use base64::{Engine, prelude::BASE64_STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey};
use rustls::pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

use crate::token::key::JwtKey;

/// A text that is no private key. It never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    /// No PEM, and not base64 of one.
    #[error("is no private key in PEM form, nor base64 of one")]
    NotPem,
    /// A PEM of something else.
    #[error("is a PEM of something else than a private key of this algorithm")]
    OtherPem,
    /// SEC1, which `openssl ecparam -genkey` writes.
    #[error(
        "is a private key in SEC1 form: write it as PKCS#8, as openssl pkcs8 -topk8 -nocrypt does"
    )]
    Sec1,
    /// Encrypted.
    #[error("is a private key under a password: write it without one")]
    Encrypted,
    /// In the form of one, and does not sign.
    #[error("is no private key that signs by this algorithm; RSA keys have at least 2048 bits")]
    Unusable,
}

/// Takes the private key of RS256 or ES256.
///
/// # Errors
///
/// It is no such key.
pub(super) fn parse(text: &str, algorithm: Algorithm) -> Result<JwtKey, KeyError> {
    let (kind, der) = pem(text)?;
    let key = match (algorithm, kind) {
        (Algorithm::RS256, SectionKind::RsaPrivateKey) => EncodingKey::from_rsa_der(&der),
        (Algorithm::RS256, SectionKind::PrivateKey) => {
            EncodingKey::from_rsa_der(inside_pkcs8(&der).ok_or(KeyError::Unusable)?)
        }
        (Algorithm::ES256, SectionKind::PrivateKey) => EncodingKey::from_ec_der(&der),
        (Algorithm::ES256, SectionKind::EcPrivateKey) => return Err(KeyError::Sec1),
        _ => return Err(KeyError::OtherPem),
    };
    JwtKey::private(algorithm, key).map_err(|_| KeyError::Unusable)
}

/// What a PEM says that it holds, and the bytes.
type Pem = (SectionKind, Zeroizing<Vec<u8>>);

/// The first PEM in a text, or in the text whose base64 it is.
fn pem(text: &str) -> Result<Pem, KeyError> {
    if text.contains("-----BEGIN ") {
        return plain_pem(text);
    }
    let dense: Zeroizing<String> = Zeroizing::new(
        text.chars().filter(|it| !it.is_whitespace() && *it != '\u{feff}').collect(),
    );
    let decoded = BASE64_STANDARD.decode(dense.as_bytes()).map(Zeroizing::new);
    let decoded = decoded.map_err(|_| KeyError::NotPem)?;
    plain_pem(str::from_utf8(&decoded).map_err(|_| KeyError::NotPem)?)
}

/// The first PEM in a text that has one as it is.
fn plain_pem(text: &str) -> Result<Pem, KeyError> {
    if text.contains("-----BEGIN ENCRYPTED ") || text.contains("4,ENCRYPTED") {
        return Err(KeyError::Encrypted);
    }
    let (kind, der) =
        PemObject::from_pem_slice(in_lines(text).as_bytes()).map_err(|_| KeyError::NotPem)?;
    Ok((kind, Zeroizing::new(der)))
}

/// A PEM in its lines again: where it is one line of an environment file, their ends are written
/// out or left out.
fn in_lines(text: &str) -> Zeroizing<String> {
    const ENDS: [(&str, &str); 5] = [
        ("\\r", ""),
        ("\\n", "\n"),
        ("-----BEGIN ", "\n-----BEGIN "),
        ("KEY-----", "KEY-----\n"),
        ("-----END ", "\n-----END "),
    ];
    ENDS.iter().fold(Zeroizing::new(text.to_owned()), |text, (from, to)| {
        Zeroizing::new(text.replace(from, to))
    })
}

/// The key inside a PKCS#8 `PrivateKeyInfo`: a version, an algorithm, and the key as an octet
/// string. `jsonwebtoken` takes RSA keys as PKCS#1 alone.
fn inside_pkcs8(der: &[u8]) -> Option<&[u8]> {
    const INTEGER: u8 = 0x02;
    const OCTET_STRING: u8 = 0x04;
    const SEQUENCE: u8 = 0x30;
    let (info, _) = element(der, SEQUENCE)?;
    let (_, rest) = element(info, INTEGER)?;
    let (_, rest) = element(rest, SEQUENCE)?;
    Some(element(rest, OCTET_STRING)?.0)
}

/// The content of the DER element of this tag that the bytes begin with, and what is behind it.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (head, rest) = der.split_at_checked(2)?;
    let [its, length] = *head else { return None };
    if its != tag {
        return None;
    }
    let (length, rest) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let length = digits.iter().fold(0, |sum, digit| (sum << 8) | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}
