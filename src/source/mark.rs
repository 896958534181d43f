//! What distinguishes one grant from another, without a secret.

use sha2::{Digest, Sha256};

/// A grant's fingerprint, and its expiry if the grant states one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// The first half of the SHA-256 of the credential inside the grant.
    pub fingerprint: [u8; 16],
    /// When the credential expires by its issuer's clock, in Unix seconds. That clock is not trusted:
    /// only the difference between two values is used.
    pub expires: Option<f64>,
}

impl Mark {
    /// The mark of a grant that holds `credential`, which expires at `expires`. The credential stays
    /// the same when a cache returns the grant again.
    #[must_use]
    pub fn of(credential: &str, expires: Option<f64>) -> Self {
        let mut fingerprint = [0; 16];
        fingerprint.copy_from_slice(&Sha256::digest(credential)[..16]);
        Self { fingerprint, expires: expires.filter(|seconds| seconds.is_finite()) }
    }
}
