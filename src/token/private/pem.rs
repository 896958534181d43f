//! Keys in PEM, including PEM that an environment file holds in one line.

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use rustls::pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroizing;

use super::{Form, KeyError};

/// The label of a PEM section and its bytes.
type Pem = (SectionKind, Vec<u8>);

/// The single private key in PEM text. Curve parameters, certificates and public keys may accompany
/// it.
pub(super) fn private(text: &str) -> Result<Form, KeyError> {
    if text.contains("-----BEGIN ENCRYPTED ") || text.contains("4,ENCRYPTED") {
        return Err(KeyError::Encrypted);
    }
    if text.contains("-----BEGIN OPENSSH ") {
        return Err(KeyError::OpenSsh);
    }
    let text = in_lines(text);
    let (mut found, mut is_public) = (None, text.contains("-----BEGIN RSA PUBLIC KEY-----"));
    for section in Pem::pem_slice_iter(text.as_bytes()) {
        let (kind, der) = section.map_err(|_| KeyError::Damaged)?;
        let der = Zeroizing::new(der);
        let form = match kind {
            SectionKind::PrivateKey => Form::Pkcs8(der),
            SectionKind::RsaPrivateKey => Form::Pkcs1(der),
            SectionKind::EcPrivateKey => Form::Sec1(der),
            SectionKind::PublicKey | SectionKind::Certificate => {
                is_public = true;
                continue;
            }
            _ => continue,
        };
        if found.replace(form).is_some() {
            return Err(KeyError::Several);
        }
    }
    found.ok_or(if is_public { KeyError::Public } else { KeyError::OtherPem })
}

/// The first PKCS#1 RSA public key in PEM text.
pub(super) fn public_pkcs1(text: &str) -> Option<Vec<u8>> {
    // The parser does not know this label.
    text.contains("RSA PUBLIC KEY-----").then(|| public(&text.replace("RSA PUBLIC", "PUBLIC")))?
}

/// The first public key in PEM text.
pub(super) fn public(text: &str) -> Option<Vec<u8>> {
    let sections = in_lines(text);
    let mut sections = Pem::pem_slice_iter(sections.as_bytes()).filter_map(Result::ok);
    sections.find(|(kind, _)| *kind == SectionKind::PublicKey).map(|(_, der)| der)
}

/// Decodes base64 text of either alphabet, with or without padding.
pub(super) fn base64_text(text: &str) -> Option<Zeroizing<String>> {
    const CONFIG: GeneralPurposeConfig =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let dense: Zeroizing<String> = Zeroizing::new(
        text.chars().filter(|it| !it.is_whitespace() && *it != '\u{feff}').collect(),
    );
    [STANDARD, URL_SAFE].iter().find_map(|alphabet| {
        let decoded = GeneralPurpose::new(alphabet, CONFIG).decode(dense.as_bytes());
        let decoded = Zeroizing::new(decoded.ok()?);
        Some(Zeroizing::new(str::from_utf8(&decoded).ok()?.to_owned()))
    })
}

/// Restores the lines of a PEM that an environment file holds in one line, with escaped or removed
/// line breaks.
pub(super) fn in_lines(text: &str) -> Zeroizing<String> {
    const ENDS: [(&str, &str); 7] = [
        ("\\r", ""),
        ("\\n", "\n"),
        ("-----BEGIN ", "\n-----BEGIN "),
        ("KEY-----", "KEY-----\n"),
        ("PARAMETERS-----", "PARAMETERS-----\n"),
        ("CERTIFICATE-----", "CERTIFICATE-----\n"),
        ("-----END ", "\n-----END "),
    ];
    ENDS.iter().fold(Zeroizing::new(text.to_owned()), |text, (from, to)| {
        Zeroizing::new(text.replace(from, to))
    })
}
