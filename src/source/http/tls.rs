//! TLS to an upstream, and the reason of a failed handshake: each reason leads to a different fix.

use std::{
    error::Error,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::{
    AlertDescription, CertificateError, ClientConfig, InvalidMessage, OtherError, SignatureScheme,
    client::ResolvesClientCert, pki_types::ServerName, sign::CertifiedKey,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::grant::{Fault, FaultClass};

const HANDSHAKE_FAILED: Fault = Fault::new(FaultClass::Transient, "TLS_HANDSHAKE_FAILED");

/// Has no client certificate, and records whether the upstream requested one.
#[derive(Debug, Default)]
struct NoClientCert(AtomicBool);

impl ResolvesClientCert for NoClientCert {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Makes TLS connections.
pub(super) struct Tls {
    connector: TlsConnector,
    client_cert: Arc<NoClientCert>,
}

impl Tls {
    pub(super) fn new(config: &ClientConfig) -> Self {
        let client_cert = Arc::new(NoClientCert::default());
        // Shared by all connections: sessions are not resumed with a different resolver.
        let mut config = config.clone();
        config.client_auth_cert_resolver = client_cert.clone();
        Self { connector: TlsConnector::from(Arc::new(config)), client_cert }
    }

    /// Starts TLS over `io` with a peer that proves to be `host`.
    pub(super) async fn handshake<T>(&self, host: &str, io: T) -> Result<TlsStream<T>, Fault>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let host = ServerName::try_from(host.to_owned())
            .map_err(|_| Fault::new(FaultClass::Misconfigured, "URL_INVALID"))?;
        self.client_cert.0.store(false, Ordering::Relaxed);
        let connected = self.connector.connect(host, io).await;
        connected
            .map_err(|error| handshake_fault(&error, self.client_cert.0.load(Ordering::Relaxed)))
    }
}

fn handshake_fault(error: &io::Error, certificate_requested: bool) -> Fault {
    match tls_error(error) {
        // With TLS 1.2, many servers send no more specific alert for a missing certificate.
        Some(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure))
            if certificate_requested =>
        {
            Fault::new(FaultClass::Misconfigured, "TLS_CLIENT_CERTIFICATE_REQUIRED")
        }
        Some(error) => fault(error),
        None => HANDSHAKE_FAILED,
    }
}

/// The TLS error in an error's chain of causes.
pub(super) fn tls_error<'a>(outermost: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(outermost);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        // source() of an io::Error skips the wrapped error itself.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// The fault for a TLS error.
pub(super) fn fault(error: &rustls::Error) -> Fault {
    let reason = match error {
        rustls::Error::InvalidCertificate(why) => certificate_reason(why),
        rustls::Error::NoCertificatesPresented => "TLS_CERTIFICATE_REFUSED",
        rustls::Error::PeerIncompatible(_) => "TLS_INCOMPATIBLE",
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "TLS_NOT_SPOKEN",
        rustls::Error::AlertReceived(alert) => match alert_reason(*alert) {
            Some(reason) => reason,
            None => return HANDSHAKE_FAILED,
        },
        _ => return HANDSHAKE_FAILED,
    };
    Fault::new(FaultClass::Misconfigured, reason)
}

/// The reason of an alert that a retry does not change.
fn alert_reason(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::ProtocolVersion
        | AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity
        | AlertDescription::NoApplicationProtocol => "TLS_INCOMPATIBLE",
        // rustls servers send access_denied for a name without a certificate.
        AlertDescription::UnrecognisedName | AlertDescription::AccessDenied => {
            "TLS_NAME_NOT_SERVED"
        }
        // These can only concern a client certificate, and this client has none.
        AlertDescription::CertificateRequired
        | AlertDescription::NoCertificate
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA => "TLS_CLIENT_CERTIFICATE_REQUIRED",
        _ => return None,
    })
}

fn certificate_reason(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "TLS_CERTIFICATE_EXPIRED"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "TLS_CERTIFICATE_NOT_YET_VALID"
        }
        CertificateError::NotValidForNameContext { presented, .. } if presented.is_empty() => {
            "TLS_CERTIFICATE_WITHOUT_A_NAME"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "TLS_CERTIFICATE_OF_ANOTHER_NAME"
        }
        CertificateError::UnknownIssuer => "TLS_CERTIFICATE_UNTRUSTED",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "TLS_CERTIFICATE_NOT_FOR_SERVERS"
        }
        CertificateError::BadSignature => "TLS_CERTIFICATE_SIGNATURE_WRONG",
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "TLS_CERTIFICATE_ALGORITHM_UNSUPPORTED"
        }
        CertificateError::UnhandledCriticalExtension => "TLS_CERTIFICATE_EXTENSION_UNKNOWN",
        CertificateError::BadEncoding => "TLS_CERTIFICATE_MALFORMED",
        CertificateError::Revoked => "TLS_CERTIFICATE_REVOKED",
        CertificateError::Other(OtherError(other)) => {
            other.downcast_ref().map_or("TLS_CERTIFICATE_REFUSED", path_reason)
        }
        _ => "TLS_CERTIFICATE_REFUSED",
    }
}

/// Errors without a rustls variant.
fn path_reason(error: &webpki::Error) -> &'static str {
    match error {
        webpki::Error::CaUsedAsEndEntity => "TLS_CERTIFICATE_IS_A_CA",
        webpki::Error::EndEntityUsedAsCa => "TLS_CERTIFICATE_ISSUER_IS_NO_CA",
        webpki::Error::EmptyEkuExtension => "TLS_CERTIFICATE_NOT_FOR_SERVERS",
        webpki::Error::NameConstraintViolation => "TLS_CERTIFICATE_NAME_NOT_PERMITTED",
        webpki::Error::PathLenConstraintViolated | webpki::Error::MaximumPathDepthExceeded => {
            "TLS_CERTIFICATE_CHAIN_TOO_LONG"
        }
        webpki::Error::UnsupportedCertVersion => "TLS_CERTIFICATE_OF_AN_OLD_VERSION",
        webpki::Error::UnsupportedCriticalExtension => "TLS_CERTIFICATE_EXTENSION_UNKNOWN",
        webpki::Error::SignatureAlgorithmMismatch
        | webpki::Error::ExtensionValueInvalid
        | webpki::Error::InvalidSerialNumber
        | webpki::Error::InvalidNetworkMaskConstraint
        | webpki::Error::MalformedDnsIdentifier
        | webpki::Error::MalformedExtensions
        | webpki::Error::MalformedNameConstraint => "TLS_CERTIFICATE_MALFORMED",
        _ => "TLS_CERTIFICATE_REFUSED",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn refusal_after_certificate_request_is_about_it() {
        let alert = |alert| io::Error::other(rustls::Error::AlertReceived(alert));
        let reason = |error, requested| handshake_fault(&error, requested).reason.into_owned();
        let refused = || alert(AlertDescription::HandshakeFailure);
        assert_eq!(reason(refused(), false), "TLS_INCOMPATIBLE");
        assert_eq!(reason(refused(), true), "TLS_CLIENT_CERTIFICATE_REQUIRED");
        let other = alert(AlertDescription::ProtocolVersion);
        assert_eq!(reason(other, true), "TLS_INCOMPATIBLE");
        assert_eq!(reason(io::ErrorKind::ConnectionReset.into(), true), "TLS_HANDSHAKE_FAILED");
    }

    #[test]
    fn webpki_errors_have_their_own_reasons() {
        let reason_of = |error: webpki::Error| {
            let other = CertificateError::Other(OtherError(Arc::new(error)));
            fault(&rustls::Error::InvalidCertificate(other)).reason.into_owned()
        };
        for (error, reason) in [
            (webpki::Error::UnsupportedCertVersion, "TLS_CERTIFICATE_OF_AN_OLD_VERSION"),
            (webpki::Error::EmptyEkuExtension, "TLS_CERTIFICATE_NOT_FOR_SERVERS"),
            (webpki::Error::MaximumPathDepthExceeded, "TLS_CERTIFICATE_CHAIN_TOO_LONG"),
            (webpki::Error::InvalidSerialNumber, "TLS_CERTIFICATE_MALFORMED"),
            (webpki::Error::SignatureAlgorithmMismatch, "TLS_CERTIFICATE_MALFORMED"),
            (webpki::Error::CertDistrusted, "TLS_CERTIFICATE_REFUSED"),
        ] {
            assert_eq!(reason_of(error), reason);
        }
        // Any other error.
        let other = CertificateError::Other(OtherError(Arc::new(io::Error::other("else"))));
        let fault = fault(&rustls::Error::InvalidCertificate(other));
        assert_eq!(fault, Fault::new(FaultClass::Misconfigured, "TLS_CERTIFICATE_REFUSED"));
    }
}
