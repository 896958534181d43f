//! The secret that signs a profile's tokens with HMAC.

use serde_json::{Value, json};

use crate::settings::{SecretError, SecretKeys, SecretOrigin, Section, SigningSecret};

const ALLOW_WEAK: &str = "allow_weak_secret";

/// A profile's signing secret, and its location.
#[derive(Clone, Debug)]
pub(super) struct KeySecret {
    /// The secret.
    pub(super) secret: SigningSecret,
    name: &'static str,
    origin: SecretOrigin,
    allow_weak: bool,
}

impl KeySecret {
    /// Reads a required secret. A weak one needs `allow_weak_secret`, since development servers
    /// have such secrets.
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

    /// The keys for display, with the secret's location in its place.
    pub(super) fn shown(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let secret = (self.name, json!(format!("(set, {})", self.origin)));
        let weak = self.allow_weak.then_some((ALLOW_WEAK, json!(true)));
        [secret].into_iter().chain(weak)
    }
}

/// A key's public name: what the provider's console shows next to its secret.
///
/// # Errors
///
/// It is not such a name.
pub(super) fn parse_key_name(text: &str) -> Result<String, &'static str> {
    if (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(text.to_owned())
    } else {
        Err("is not a key name: up to 256 ASCII characters without white space")
    }
}
