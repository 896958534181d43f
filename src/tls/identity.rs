//! The server's certificate and key.

use std::{fmt, sync::Arc};

use rustls::{
    Error, InconsistentKeys,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::certificate::{ParsedCertificate, Validity};
use crate::clock::WallTime;

/// The server's certificate and key.
pub struct Identity {
    pub(super) resolver: Arc<SingleCertAndKey>,
    /// The period in which all certificates of the chain are valid.
    pub(super) validity: Validity,
    names_a_host: bool,
    names: Vec<String>,
    issuer: String,
    misplaced: Option<usize>,
}

/// Why a certificate and its key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate is invalid.
    #[error("cert: {0}")]
    Certificate(String),
    /// The key is invalid or does not match the certificate.
    #[error("key: {0}")]
    Key(String),
}

impl IdentityError {
    /// The key in the configuration, and the reason.
    #[must_use]
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Certificate(why) => ("cert", why),
            Self::Key(why) => ("key", why),
        }
    }
}

impl Identity {
    /// Parses the contents of both files. The certificate must be valid `now`.
    pub fn from_pem(cert: &[u8], key: &[u8], now: WallTime) -> Result<Self, IdentityError> {
        let invalid = |why: &str| IdentityError::Certificate(why.to_owned());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
        let chain = chain.map_err(|_| invalid("has a part that is not PEM"))?;
        if chain.is_empty() {
            return Err(invalid("holds no certificate in PEM form"));
        }
        Self::new(chain, now, |chain| certify(chain, key))
    }

    /// Parses a chain and a PKCS#8 key, both DER. The certificate must be valid `now`.
    pub(super) fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: &[u8],
        now: WallTime,
    ) -> Result<Self, IdentityError> {
        Self::new(chain, now, |chain| {
            certify_with(chain, &PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)))
        })
    }

    fn new(
        chain: Vec<CertificateDer<'static>>,
        now: WallTime,
        certify: impl FnOnce(Vec<CertificateDer<'static>>) -> Result<CertifiedKey, IdentityError>,
    ) -> Result<Self, IdentityError> {
        let invalid = |why: &str| IdentityError::Certificate(why.to_owned());
        let mut validity: Option<Validity> = None;
        let mut parsed = Vec::new();
        for der in &chain {
            let read = ParsedCertificate::new(der)
                .map_err(|_| invalid("holds a certificate that cannot be read"))?;
            let own = read.validity();
            validity = Some(validity.map_or(own, |all| Validity {
                start: all.start.max(own.start),
                end: all.end.min(own.end),
            }));
            parsed.push(read);
        }
        let validity = validity.ok_or_else(|| invalid("holds no certificate"))?;
        if validity.start > now {
            return Err(invalid("holds a certificate that is not valid yet: check the clock too"));
        }
        if validity.end.is_some_and(|end| end <= now) {
            return Err(invalid("holds a certificate that has expired"));
        }
        let certified = certify(chain)?;
        let mut pairs = parsed.iter().zip(parsed.iter().skip(1));
        let misplaced = pairs.position(|(own, next)| !own.names_as_issuer(next));
        let first = parsed.first();
        Ok(Self {
            resolver: Arc::new(certified.into()),
            validity,
            names_a_host: first.is_some_and(ParsedCertificate::names_a_host),
            names: first.map(ParsedCertificate::shown_names).unwrap_or_default(),
            issuer: parsed.last().map(ParsedCertificate::issuer).unwrap_or_default(),
            misplaced: misplaced.map(|index| index + 1),
        })
    }

    /// The names in the certificate, formatted for display.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The issuer of the chain's last certificate, formatted for display.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The number of the first certificate that the next one in the chain did not issue, if any.
    #[must_use]
    pub const fn misplaced(&self) -> Option<usize> {
        self.misplaced
    }

    /// Warnings for the operator.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let unnamed = "the certificate has no DNS name or IP address: only clients that verify \
                       a SPIFFE ID can verify it (SPIRE adds DNS names with -dns)";
        (!self.names_a_host).then(|| unnamed.to_owned()).into_iter().collect()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// Combines a chain with the PEM key of its first certificate.
pub(super) fn certify(
    chain: Vec<CertificateDer<'static>>,
    key: &[u8],
) -> Result<CertifiedKey, IdentityError> {
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| IdentityError::Key("holds no private key in PEM form".to_owned()))?;
    certify_with(chain, &key)
}

fn certify_with(
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'_>,
) -> Result<CertifiedKey, IdentityError> {
    let invalid = |why: &str| IdentityError::Key(why.to_owned());
    // Borrows the key: rustls's own loader takes ownership and does not zeroize it.
    let signing = any_supported_type(key);
    let signing = signing.map_err(|_| invalid("holds a private key that cannot be used"))?;
    let certified = CertifiedKey::new(chain, signing);
    // rustls's own constructor accepts a pair that it cannot compare.
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(invalid("does not match the certificate"))
        }
        Err(_) => Err(invalid("cannot be compared with the certificate's public key")),
    }
}
