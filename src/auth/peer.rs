//! The other end of a connection.

use sha2::{Digest, Sha256};

use super::name::CallerName;
use crate::listen::remote::Remote;

/// The other end of a connection: made once, when the connection is, and carried by each of
/// its calls. What a caller may do is never kept with it, since that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is, where that is known; of a certificate with several DNS names, the first.
    pub name: Option<CallerName>,
    /// The other DNS names of its certificate, in their order.
    pub also: Vec<CallerName>,
    /// Its certificate, where it has proved to have the key of one.
    pub certificate: Option<Fingerprint>,
    /// Where it comes from.
    pub from: Remote,
}

impl Peer {
    /// All names that it may go by, the first before the others.
    pub fn names(&self) -> impl Iterator<Item = &CallerName> {
        self.name.iter().chain(&self.also)
    }
}

/// The SHA-256 of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// That of a certificate in DER.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// This digest.
    #[must_use]
    pub const fn of_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}
