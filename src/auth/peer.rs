//! The peer of a connection.

use sha2::{Digest, Sha256};

use super::name::CallerName;
use crate::listen::remote::Remote;

/// The peer of a connection. It is created once per connection and shared by its calls. It holds no
/// permissions, since these can change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The peer's name, if known: for a certificate with several DNS names, the first.
    pub name: Option<CallerName>,
    /// The certificate's other DNS names, in order.
    pub other_names: Vec<CallerName>,
    /// The certificate whose key the peer has proved to hold.
    pub certificate: Option<Fingerprint>,
    /// The remote address.
    pub from: Remote,
}

impl Peer {
    /// All names of the peer, in order.
    pub fn names(&self) -> impl Iterator<Item = &CallerName> {
        self.name.iter().chain(&self.other_names)
    }
}

/// The SHA-256 of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a DER certificate.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// A fingerprint from its digest.
    #[must_use]
    pub const fn of_digest(digest: [u8; 32]) -> Self {
        Self(digest)
    }
}
