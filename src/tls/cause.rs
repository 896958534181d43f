//! Why a client certificate does not authenticate its client.

use rustls::CertificateError;

/// Why a client is not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The client sent no certificate, and one is required.
    NoCredential,
    /// A certificate in its chain has expired.
    Expired,
    /// A certificate in its chain is not valid yet.
    NotYetValid,
    /// Its authority has revoked it.
    Revoked,
    /// Its authority has a revocation list that does not cover it.
    RevocationUnknown,
    /// It was not issued by an authority that is trusted for its kind of name.
    UnknownCa,
    /// It is a CA certificate or not for client authentication.
    WrongUsage,
    /// It has no name that can identify a caller.
    NoName,
    /// It has several URIs, and a caller has only one name.
    SeveralNames,
    /// It cannot be parsed completely.
    Malformed,
}

impl Cause {
    /// All causes.
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

    /// The name in logs and metrics.
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

    /// The error that makes rustls send the matching alert: `certificate_expired`,
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
            // There is no path to an authority, or none within its constraints.
            _ => Self::UnknownCa,
        }
    }
}
