//! What a JWT says, read without trusting it.

use base64::{
    Engine,
    alphabet::URL_SAFE,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::{Map, Value};

/// With padding or without: some who make tokens leave it on.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A JWT's two readable parts.
#[derive(PartialEq)]
pub(super) struct Decoded {
    pub(super) header: Map<String, Value>,
    pub(super) claims: Map<String, Value>,
}

/// Why a text is no JWT. It never holds the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotAToken {
    #[error("nothing was given")]
    Empty,
    #[error("a JWT is three parts with dots between them; here are {0}")]
    Parts(usize),
    #[error("the {0} is not base64url")]
    NotBase64(&'static str),
    #[error("the {0} is not a JSON object")]
    NotAnObject(&'static str),
}

/// Reads a JWT's header and claims. The signature is not looked at.
pub(super) fn decode(text: &str) -> Result<Decoded, NotAToken> {
    let text = text.trim();
    if text.is_empty() {
        return Err(NotAToken::Empty);
    }
    let parts: Vec<&str> = text.split('.').collect();
    let [header, claims, _signature] = parts[..] else {
        return Err(NotAToken::Parts(parts.len()));
    };
    Ok(Decoded { header: object(header, "header")?, claims: object(claims, "payload")? })
}

fn object(part: &str, name: &'static str) -> Result<Map<String, Value>, NotAToken> {
    let json = BASE64URL.decode(part).map_err(|_| NotAToken::NotBase64(name))?;
    serde_json::from_slice(&json).map_err(|_| NotAToken::NotAnObject(name))
}
