//! The private key that signs a profile's tokens.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::{
    settings::{SecretKeys, SecretOrigin, Section},
    token::key::JwtKey,
};

/// The configuration keys for its location.
pub(super) const KEYS: SecretKeys =
    SecretKeys { file: "private_key_file", env: "private_key_env", value: "private_key" };

/// A profile's private key, and its location.
#[derive(Clone, Debug)]
pub(super) struct PrivateKey {
    /// The key.
    pub(super) key: JwtKey,
    origin: SecretOrigin,
}

impl PrivateKey {
    /// Reads a required private key for an algorithm.
    pub(super) fn read(section: &mut Section<'_>, algorithm: Algorithm) -> Option<Self> {
        let (key, origin) = section.secret(KEYS, |text| JwtKey::parse_private(text, algorithm))?;
        Some(Self { key, origin })
    }

    /// The key for display: its location.
    pub(super) fn shown(&self) -> (&'static str, Value) {
        (KEYS.value, json!(format!("(set, {})", self.origin)))
    }
}
