//! How identities are recorded.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use serde::{Serialize, Serializer};

use crate::{hmac::Hmac, settings::SigningSecret};

/// The number of hex digits that replace an identity.
pub const DIGITS: usize = 16;

/// The HMAC-SHA-256 key that identities are hashed with.
#[derive(Clone)]
pub struct IdentityKey(Hmac);

impl IdentityKey {
    /// Creates a key from a secret.
    #[must_use]
    pub fn new(secret: &SigningSecret) -> Self {
        Self(Hmac::new(secret.expose().as_bytes()))
    }

    /// The hash of an identity or of a series' prefix.
    #[must_use]
    pub fn hash(&self, identity: &str) -> [u8; DIGITS] {
        let code = self.0.of(identity.as_bytes());
        let mut digits = [b'0'; DIGITS];
        for (pair, byte) in digits.as_chunks_mut().0.iter_mut().zip(code) {
            *pair = [byte >> 4, byte & 15].map(|nibble| b"0123456789abcdef"[usize::from(nibble)]);
        }
        digits
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityKey")
    }
}

/// How identities are recorded.
#[derive(Clone, Debug)]
pub enum Identities {
    /// They are omitted.
    None,
    /// As hashes with a key that can be replaced.
    Hashed(Arc<ArcSwap<IdentityKey>>),
    /// As they are.
    Clear,
}

impl Identities {
    /// Hashes identities with this key.
    #[must_use]
    pub fn hashed(key: IdentityKey) -> Self {
        Self::Hashed(Arc::new(ArcSwap::from_pointee(key)))
    }

    /// The value in the configuration.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hashed(_) => "hashed",
            Self::Clear => "clear",
        }
    }

    /// Replaces the key, if identities are hashed.
    pub(super) fn replace_key(&self, key: IdentityKey) {
        if let Self::Hashed(current) = self {
            current.store(Arc::new(key));
        }
    }

    /// A serializer for the identities of one record, which all use the same key.
    pub(super) fn writer(&self) -> Option<IdentityWriter> {
        match self {
            Self::None => None,
            Self::Hashed(key) => Some(IdentityWriter(Some(key.load_full()))),
            Self::Clear => Some(IdentityWriter(None)),
        }
    }
}

/// Serializes identities, as hashes if there is a key.
pub(super) struct IdentityWriter(Option<Arc<IdentityKey>>);

impl IdentityWriter {
    pub(super) fn written<'a>(&'a self, identity: &'a str) -> WrittenIdentity<'a> {
        WrittenIdentity { writer: self, identity }
    }
}

/// An identity that serializes as configured.
pub(super) struct WrittenIdentity<'a> {
    writer: &'a IdentityWriter,
    identity: &'a str,
}

impl Serialize for WrittenIdentity<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.writer.0 {
            // Hex digits are ASCII.
            Some(key) => serializer
                .serialize_str(str::from_utf8(&key.hash(self.identity)).unwrap_or_default()),
            None => serializer.serialize_str(self.identity),
        }
    }
}
