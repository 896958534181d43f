//! The secret of a key that signs with HMAC, as the profiles of all such kinds write it.

use serde_json::{Value, json};

use crate::settings::{SecretError, SecretKeys, SecretOrigin, Section, SigningSecret};

const ALLOW_WEAK: &str = "allow_weak_secret";

/// A profile's signing secret, and where it was found.
#[derive(Clone, Debug)]
pub(super) struct KeySecret {
    /// It.
    pub(super) secret: SigningSecret,
    name: &'static str,
    origin: SecretOrigin,
    allow_weak: bool,
}

impl KeySecret {
    /// Reads a secret that must be there. A weak one is taken only where the profile says
    /// `allow_weak_secret`, as development servers have such.
    pub(super) fn read(section: &mut Section<'_>, keys: SecretKeys) -> Option<Self> {
        let allow_weak = section.flag(ALLOW_WEAK).unwrap_or(false);
        let parse = |text: &str| match SigningSecret::parse(text) {
            Err(_) if allow_weak => {
                SigningSecret::parse_weak(text).map_err(|error| error.to_string())
            }
            Err(error @ (SecretError::TooShort | SecretError::Repeated)) => {
                Err(format!("{error}; a development server's needs {ALLOW_WEAK} = true"))
            }
            parsed => parsed.map_err(|error| error.to_string()),
        };
        let (secret, origin) = section.secret(keys, parse)?;
        Some(Self { secret, name: keys.value, origin, allow_weak })
    }

    /// The keys as they may be shown: never the secret, only where it is.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let secret = (self.name, json!(format!("(set, {})", self.origin)));
        let weak = self.allow_weak.then_some((ALLOW_WEAK, json!(true)));
        [secret].into_iter().chain(weak)
    }
}

/// A key's public name: what the provider's console shows beside its secret.
///
/// # Errors
///
/// It is no such name.
pub(super) fn parse_key_name(text: &str) -> Result<String, &'static str> {
    if (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("is not a key's name: up to 256 ASCII characters without white space")
    }
}
