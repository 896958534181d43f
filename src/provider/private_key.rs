//! The private key that a profile's tokens are signed with, as the profiles of all such kinds
//! write it.

use jsonwebtoken::Algorithm;
use serde_json::{Value, json};

use crate::{
    settings::{SecretKeys, SecretOrigin, Section},
    token::key::JwtKey,
};

/// The keys that say where it is.
pub(super) const KEYS: SecretKeys =
    SecretKeys { file: "private_key_file", env: "private_key_env", value: "private_key" };

/// A profile's private key, and where it was found.
#[derive(Clone, Debug)]
pub(super) struct PrivateKey {
    /// It.
    pub(super) key: JwtKey,
    origin: SecretOrigin,
}

impl PrivateKey {
    /// Reads the private key of an algorithm, which must be there.
    pub(super) fn read(section: &mut Section<'_>, algorithm: Algorithm) -> Option<Self> {
        let (key, origin) = section.secret(KEYS, |text| JwtKey::parse_private(text, algorithm))?;
        Some(Self { key, origin })
    }

    /// The key as it may be shown: never itself, only where it is.
    pub(super) fn shown(&self) -> (&'static str, Value) {
        (KEYS.value, json!(format!("(set, {})", self.origin)))
    }
}
