//! Why a client's certificate does not authenticate it.

use rustls::CertificateError;

/// Why a client is not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It sent no certificate, where one is required.
    NoCredential,
    /// A certificate of its chain has ended.
    Expired,
    /// A certificate of its chain does not hold yet.
    NotYetValid,
    /// Its authority has revoked it.
    Revoked,
    /// Its authority has a revocation list, which does not say whether it is revoked.
    RevocationUnknown,
    /// No authority that vouches for its kind of name has issued it.
    UnknownCa,
    /// It is an authority's, or not meant for clients.
    WrongUsage,
    /// It has no name that a caller may go by.
    NoName,
    /// It has several URIs, and a caller has one name.
    SeveralNames,
    /// A part of it cannot be read.
    Malformed,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::NoCredential,
        Self::Expired,
        Self::NotYetValid,
        Self::Revoked,
        Self::RevocationUnknown,
        Self::UnknownCa,
        Self::WrongUsage,
        Self::NoName,
        Self::SeveralNames,
        Self::Malformed,
    ];

    /// As it is logged and counted.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCredential => "no_credential",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::RevocationUnknown => "revocation_unknown",
            Self::UnknownCa => "unknown_ca",
            Self::WrongUsage => "wrong_usage",
            Self::NoName => "no_name",
            Self::SeveralNames => "several_names",
            Self::Malformed => "malformed",
        }
    }

    /// The error that makes rustls send the alert that fits: `certificate_expired`,
    /// `certificate_revoked`, `unknown_ca`, else `bad_certificate`.
    pub(super) const fn alert(self) -> CertificateError {
        match self {
            Self::Expired | Self::NotYetValid => CertificateError::Expired,
            Self::Revoked => CertificateError::Revoked,
            Self::RevocationUnknown | Self::UnknownCa => CertificateError::UnknownIssuer,
            Self::NoCredential
            | Self::WrongUsage
            | Self::NoName
            | Self::SeveralNames
            | Self::Malformed => CertificateError::BadEncoding,
        }
    }
}

impl From<webpki::Error> for Cause {
    fn from(error: webpki::Error) -> Self {
        use webpki::Error;

        match error {
            Error::CertExpired { .. } => Self::Expired,
            Error::CertNotValidYet { .. } => Self::NotYetValid,
            Error::CertRevoked => Self::Revoked,
            Error::UnknownRevocationStatus
            | Error::CrlExpired { .. }
            | Error::InvalidCrlSignatureForPublicKey
            | Error::IssuerNotCrlSigner
            | Error::UnsupportedCrlSignatureAlgorithmContext(_)
            | Error::UnsupportedCrlSignatureAlgorithmForPublicKeyContext(_) => {
                Self::RevocationUnknown
            }
            Error::CaUsedAsEndEntity
            | Error::EmptyEkuExtension
            | Error::RequiredEkuNotFoundContext(_) => Self::WrongUsage,
            Error::BadDer
            | Error::BadDerTime
            | Error::ExtensionValueInvalid
            | Error::InvalidCertValidity
            | Error::InvalidSerialNumber
            | Error::MalformedDnsIdentifier
            | Error::MalformedExtensions
            | Error::MalformedNameConstraint
            | Error::SignatureAlgorithmMismatch
            | Error::TrailingData(_)
            | Error::UnsupportedCertVersion
            | Error::UnsupportedCriticalExtension => Self::Malformed,
            // No path leads to an authority, or none that its own limits allow.
            _ => Self::UnknownCa,
        }
    }
}
