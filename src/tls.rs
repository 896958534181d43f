//! TLS: the certificate that the server shows, the authorities that it trusts, and the names
//! that its clients prove.
//!
//! Two groups are rebuilt and swapped apart from each other, so that a mistake in one leaves the
//! other as it is: the certificate with its key ([`Identity`]), and the authorities with their
//! revocation lists ([`Trust`]). Each is a pure function of the contents of its files.

pub mod begun;
pub mod cause;
mod certificate;
pub mod client;
pub mod config;
pub mod expiry;
pub mod files;
pub mod identity;
mod revocation;
pub mod server;
pub mod trust;
mod verifier;

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use self::{
    cause::Cause,
    certificate::Validity,
    config::{Authorities, ClientAuth, Config, MinVersion, Pair},
    files::{LoadError, Loaded},
    identity::Identity,
    revocation::WhenExpired,
    server::Tls,
    trust::Trust,
};

/// The only protocol that is spoken.
const HTTP2: &[u8] = b"h2";

/// The one implementation of cryptography.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

#[cfg(test)]
mod tests;
