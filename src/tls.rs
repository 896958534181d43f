//! TLS: the certificate that the server shows, the authorities that it trusts, and the names
//! that its clients prove.
//!
//! What the files hold is read in two groups, each replaced by itself, so that a mistake in one
//! leaves the other as it is: the certificate with its key ([`Identity`]), and the authorities
//! with their revocation lists ([`FileTrust`]). Each is a pure function of the contents of its
//! files. The [`WorkloadApi`] sends a certificate and bundles together.

pub mod begun;
mod bundle;
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
pub mod workload;

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use self::{
    cause::Cause,
    certificate::Validity,
    config::{Authorities, BundleOrigin, Certificate, ClientAuth, Config, MinVersion, Pair},
    files::{LoadError, Loaded, LoadedIdentity},
    identity::Identity,
    revocation::WhenExpired,
    server::Tls,
    trust::{FileTrust, ReceivedBundles},
    workload::WorkloadApi,
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
