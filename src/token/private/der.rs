//! The part of DER that is needed to find the type of a key.

use super::Type;

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const PARAMETERS: u8 = 0xa0;

/// 1.2.840.113549.1.1.1
const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.2.840.10045.2.1
const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.3.101.112
const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// 1.2.840.10045.3.1.7
const P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.3.132.0.34
const P384: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];

/// The type of the key in a PKCS#8 `PrivateKeyInfo`; none if it cannot be parsed.
pub(super) fn type_of_pkcs8(der: &[u8]) -> Option<Type> {
    let (info, _) = element(der, SEQUENCE)?;
    let (_, rest) = element(info, INTEGER)?;
    let (algorithm, _) = element(rest, SEQUENCE)?;
    Some(type_of_algorithm(algorithm))
}

/// The type and the bytes of the key in a `SubjectPublicKeyInfo`; none if it cannot be parsed.
pub(super) fn public(der: &[u8]) -> Option<(Type, &[u8])> {
    const BIT_STRING: u8 = 0x03;
    let (info, _) = element(der, SEQUENCE)?;
    let (algorithm, rest) = element(info, SEQUENCE)?;
    let (key, _) = element(rest, BIT_STRING)?;
    // The first byte is the number of unused bits.
    Some((type_of_algorithm(algorithm), key.get(1..)?))
}

/// The curve of a SEC1 `ECPrivateKey`; none if it is not stated.
pub(super) fn curve_of_sec1(der: &[u8]) -> Option<Type> {
    let (key, _) = element(der, SEQUENCE)?;
    let (_, rest) = element(key, INTEGER)?;
    let (_, rest) = element(rest, OCTET_STRING)?;
    let (parameters, _) = element(rest, PARAMETERS)?;
    let (curve, _) = element(parameters, OBJECT_ID)?;
    Some(curve_of(curve))
}

fn type_of_algorithm(algorithm: &[u8]) -> Type {
    match element(algorithm, OBJECT_ID) {
        Some((RSA, _)) => Type::Rsa,
        Some((ED25519, _)) => Type::Ed25519,
        Some((EC, parameters)) => {
            element(parameters, OBJECT_ID).map_or(Type::OtherCurve, |(curve, _)| curve_of(curve))
        }
        _ => Type::Other,
    }
}

fn curve_of(id: &[u8]) -> Type {
    match id {
        P256 => Type::P256,
        P384 => Type::P384,
        _ => Type::OtherCurve,
    }
}

/// The content of the leading element, if it has this tag, and the bytes after it.
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
