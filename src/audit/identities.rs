//! How identities are written.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use serde::{Serialize, Serializer};

use crate::{hmac::Hmac, settings::SigningSecret};

/// Hex digits that stand for an identity.
pub const DIGITS: usize = 16;

/// The key that identities are hashed with: HMAC-SHA-256.
#[derive(Clone)]
pub struct IdentityKey(Hmac);

impl IdentityKey {
    /// Of this secret.
    #[must_use]
    pub fn new(secret: &SigningSecret) -> Self {
        Self(Hmac::new(secret.expose().as_bytes()))
    }

    /// What stands for an identity, or for a series' prefix.
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

/// How identities are written.
#[derive(Clone, Debug)]
pub enum Identities {
    /// Not at all.
    None,
    /// As hashes under a key, which may be replaced.
    Hashed(Arc<ArcSwap<IdentityKey>>),
    /// As they are.
    Clear,
}

impl Identities {
    /// As hashes under this key.
    #[must_use]
    pub fn hashed(key: IdentityKey) -> Self {
        Self::Hashed(Arc::new(ArcSwap::from_pointee(key)))
    }

    /// As the configuration names it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Hashed(_) => "hashed",
            Self::Clear => "clear",
        }
    }

    /// Hashes with another key from now on, where identities are hashed.
    pub(super) fn replace_key(&self, key: IdentityKey) {
        if let Self::Hashed(present) = self {
            present.store(Arc::new(key));
        }
    }

    /// What writes those of one record: all with one key.
    pub(super) fn writer(&self) -> Option<IdentityWriter> {
        match self {
            Self::None => None,
            Self::Hashed(key) => Some(IdentityWriter(Some(key.load_full()))),
            Self::Clear => Some(IdentityWriter(None)),
        }
    }
}

/// Writes identities as hashes under a key, or without one as they are.
pub(super) struct IdentityWriter(Option<Arc<IdentityKey>>);

impl IdentityWriter {
    pub(super) fn written<'a>(&'a self, identity: &'a str) -> WrittenIdentity<'a> {
        WrittenIdentity { writer: self, identity }
    }
}

/// An identity as it is written.
pub(super) struct WrittenIdentity<'a> {
    writer: &'a IdentityWriter,
    identity: &'a str,
}

impl Serialize for WrittenIdentity<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.writer.0 {
            // Its digits are ASCII.
            Some(key) => serializer
                .serialize_str(str::from_utf8(&key.hash(self.identity)).unwrap_or_default()),
            None => serializer.serialize_str(self.identity),
        }
    }
}
