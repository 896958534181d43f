//! The certificate that the server shows, with its key.

use std::{fmt, sync::Arc};

use rustls::{
    Error, InconsistentKeys,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};

use super::certificate::{Read, Validity};
use crate::clock::WallTime;

/// The certificate that the server shows, with its key.
pub struct Identity {
    pub(super) resolver: Arc<SingleCertAndKey>,
    /// When all certificates of its chain hold.
    pub(super) validity: Validity,
    names_a_host: bool,
}

/// Why a certificate and its key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate's file.
    #[error("cert: {0}")]
    Certificate(String),
    /// The key's file, or that it is another certificate's.
    #[error("key: {0}")]
    Key(String),
}

impl IdentityError {
    /// The key of the configuration, and what is wrong with it.
    #[must_use]
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Self::Certificate(why) => ("cert", why),
            Self::Key(why) => ("key", why),
        }
    }
}

impl Identity {
    /// Takes the contents of both files; the certificate must hold `now`.
    pub fn from_pem(cert: &[u8], key: &[u8], now: WallTime) -> Result<Self, IdentityError> {
        let wrong = |why: &str| IdentityError::Certificate(why.to_owned());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
        let chain = chain.map_err(|_| wrong("has a part that is not PEM"))?;
        if chain.is_empty() {
            return Err(wrong("holds no certificate in PEM form"));
        }
        Self::new(chain, now, |chain| certify(chain, key))
    }

    /// Takes a chain and the DER of its key in PKCS#8; the certificate must hold `now`.
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
        let wrong = |why: &str| IdentityError::Certificate(why.to_owned());
        let mut validity: Option<Validity> = None;
        let mut names_a_host = false;
        for (index, der) in chain.iter().enumerate() {
            let read =
                Read::new(der).map_err(|_| wrong("holds a certificate that cannot be read"))?;
            names_a_host |= index == 0 && read.names_a_host();
            let its = read.validity();
            validity = Some(validity.map_or(its, |all| Validity {
                start: all.start.max(its.start),
                end: all.end.min(its.end),
            }));
        }
        let validity = validity.ok_or_else(|| wrong("holds no certificate"))?;
        if validity.start > now {
            return Err(wrong("holds a certificate that is not valid yet: look at the clock too"));
        }
        if validity.end.is_some_and(|end| end <= now) {
            return Err(wrong("holds a certificate that has expired"));
        }
        let certified = certify(chain)?;
        Ok(Self { resolver: Arc::new(certified.into()), validity, names_a_host })
    }

    /// What an operator should know of it.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let unnamed = "the certificate names no host: clients that do not verify a SPIFFE ID \
                       cannot verify it (SPIRE adds DNS names with -dns)";
        (!self.names_a_host).then(|| unnamed.to_owned()).into_iter().collect()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity")
    }
}

/// The chain with its key in PEM, which must be its first certificate's.
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
    let wrong = |why: &str| IdentityError::Key(why.to_owned());
    // Of a borrowed key: rustls's own loader takes it and does not clear its memory.
    let signing = any_supported_type(key);
    let signing = signing.map_err(|_| wrong("holds a private key that cannot be used"))?;
    let certified = CertifiedKey::new(chain, signing);
    // Not by rustls's own constructor: that takes a pair that it cannot compare.
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        Err(Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
            Err(wrong("is not the certificate's: they are of two pairs"))
        }
        Err(_) => Err(wrong("cannot be compared with the certificate's")),
    }
}
