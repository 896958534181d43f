//! Private keys that assertions are signed with: PKCS#8 or PKCS#1 PEM, or base64 of a PEM.
//!
//! RFC 5208 and RFC 8017 have the formats.

use base64::{Engine, prelude::BASE64_STANDARD};
use jsonwebtoken::EncodingKey;
use zeroize::Zeroizing;

/// A text that is no private key. It never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyError {
    /// No PEM, and not base64 of one.
    #[error("is no private key in PEM form, nor base64 of one")]
    NotPem,
    /// A PEM of something else.
    #[error("is a PEM of something else than a private key of this algorithm")]
    OtherPem,
    /// Encrypted.
    #[error("is a private key under a password: write it without one")]
    Encrypted,
}

/// What a PEM says that it holds, and the bytes.
type Pem = (String, Zeroizing<Vec<u8>>);

const PKCS8: &str = "PRIVATE KEY";
const PKCS1: &str = "RSA PRIVATE KEY";

/// Takes an RSA key.
pub(super) fn rsa(text: &str) -> Result<EncodingKey, KeyError> {
    let (label, der) = pem(text)?;
    match label.as_str() {
        PKCS1 => Ok(EncodingKey::from_rsa_der(&der)),
        PKCS8 => {
            let key = inside_pkcs8(&der).ok_or(KeyError::OtherPem)?;
            Ok(EncodingKey::from_rsa_der(key))
        }
        _ => Err(KeyError::OtherPem),
    }
}

/// Takes a key on an elliptic curve.
pub(super) fn ec(text: &str) -> Result<EncodingKey, KeyError> {
    let (label, der) = pem(text)?;
    if label == PKCS8 { Ok(EncodingKey::from_ec_der(&der)) } else { Err(KeyError::OtherPem) }
}

/// The first PEM in a text, or in the text whose base64 it is.
fn pem(text: &str) -> Result<Pem, KeyError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    if let Some(found) = plain_pem(text) {
        return found;
    }
    let dense: Zeroizing<String> =
        Zeroizing::new(text.chars().filter(|it| !it.is_whitespace()).collect());
    let decoded = BASE64_STANDARD.decode(dense.as_bytes()).map(Zeroizing::new);
    let decoded = decoded.map_err(|_| KeyError::NotPem)?;
    let decoded = str::from_utf8(&decoded).map_err(|_| KeyError::NotPem)?;
    plain_pem(decoded).unwrap_or(Err(KeyError::NotPem))
}

/// The same of a text that has one as it is; none where it has not.
fn plain_pem(text: &str) -> Option<Result<Pem, KeyError>> {
    let (_, rest) = text.split_once("-----BEGIN ")?;
    let (label, rest) = rest.split_once("-----")?;
    let (body, _) = rest.split_once("-----END ")?;
    if label.contains("ENCRYPTED ") || body.contains("4,ENCRYPTED") {
        return Some(Err(KeyError::Encrypted));
    }
    // Where a PEM is one line of an environment file, its line ends are written out.
    let body: Zeroizing<String> =
        Zeroizing::new(body.replace("\\n", "").replace("\\r", "").split_whitespace().collect());
    let der = BASE64_STANDARD.decode(body.as_bytes()).map(Zeroizing::new);
    Some(der.map(|der| (label.to_owned(), der)).map_err(|_| KeyError::NotPem))
}

/// The key inside a PKCS#8 `PrivateKeyInfo`: a version, an algorithm, and the key as an octet
/// string.
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
