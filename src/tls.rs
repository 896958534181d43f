//! TLS: the server's certificate, its trusted authorities, and the names that clients prove.
//!
//! Files are read in two groups, and each is replaced separately, so that a mistake in one does not
//! affect the other: the certificate with its key ([`Identity`]), and the authorities with their
//! revocation lists ([`FileTrust`]). Each is a pure function of its files' contents. The
//! [`WorkloadApi`] sends a certificate and bundles together.

pub mod agent;
mod bundle;
pub mod cause;
mod certificate;
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
    expiry::Remaining,
    files::{LoadError, Loaded, LoadedIdentity},
    identity::Identity,
    revocation::WhenExpired,
    server::Tls,
    trust::{FileTrust, ReceivedBundles},
    workload::WorkloadApi,
};

/// The only supported protocol.
const HTTP2: &[u8] = b"h2";

/// The cryptography provider.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

#[cfg(test)]
mod tests;
