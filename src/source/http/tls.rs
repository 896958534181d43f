//! TLS to an upstream, and what a handshake that fails means: each reason leads to another fix.

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

/// Has no certificate, and knows whether one was asked for.
#[derive(Debug, Default)]
struct Asked(AtomicBool);

impl ResolvesClientCert for Asked {
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
    asked: Arc<Asked>,
}

impl Tls {
    pub(super) fn new(config: &ClientConfig) -> Self {
        let asked = Arc::new(Asked::default());
        // One for all connections: sessions are not resumed under another one.
        let mut config = config.clone();
        config.client_auth_cert_resolver = asked.clone();
        Self { connector: TlsConnector::from(Arc::new(config)), asked }
    }

    /// TLS over `io` to who can prove to be `host`.
    pub(super) async fn handshake<T>(&self, host: &str, io: T) -> Result<TlsStream<T>, Fault>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let host = host.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(host);
        let host = ServerName::try_from(host.to_owned())
            .map_err(|_| Fault::new(FaultClass::Misconfigured, "URL_INVALID"))?;
        self.asked.0.store(false, Ordering::Relaxed);
        let connected = self.connector.connect(host, io).await;
        connected.map_err(|error| failed(&error, self.asked.0.load(Ordering::Relaxed)))
    }
}

fn failed(error: &io::Error, asked_for_a_certificate: bool) -> Fault {
    match behind(error) {
        // With TLS 1.2 many have no better word for a certificate that is missing.
        Some(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure))
            if asked_for_a_certificate =>
        {
            Fault::new(FaultClass::Misconfigured, "TLS_CLIENT_CERTIFICATE_REQUIRED")
        }
        Some(error) => fault(error),
        None => HANDSHAKE_FAILED,
    }
}

/// The TLS error behind another.
pub(super) fn behind<'a>(outermost: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut cause = Some(outermost);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        // An io::Error hides what it wraps from source().
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// What a TLS error means.
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

/// What the upstream says by an alert that will be the same the next time.
fn alert_reason(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::ProtocolVersion
        | AlertDescription::HandshakeFailure
        | AlertDescription::InsufficientSecurity
        | AlertDescription::NoApplicationProtocol => "TLS_INCOMPATIBLE",
        // rustls servers deny access to a name that they have no certificate for.
        AlertDescription::UnrecognisedName | AlertDescription::AccessDenied => {
            "TLS_NAME_NOT_SERVED"
        }
        // A client's certificate is what they can be about, and we have none.
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

/// What rustls has no name for.
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
    fn a_handshake_refused_after_a_certificate_was_asked_for_is_about_that() {
        let alert = |alert| io::Error::other(rustls::Error::AlertReceived(alert));
        let reason = |error, asked| failed(&error, asked).reason.into_owned();
        let refused = || alert(AlertDescription::HandshakeFailure);
        assert_eq!(reason(refused(), false), "TLS_INCOMPATIBLE");
        assert_eq!(reason(refused(), true), "TLS_CLIENT_CERTIFICATE_REQUIRED");
        let other = alert(AlertDescription::ProtocolVersion);
        assert_eq!(reason(other, true), "TLS_INCOMPATIBLE");
        assert_eq!(reason(io::ErrorKind::ConnectionReset.into(), true), "TLS_HANDSHAKE_FAILED");
    }

    #[test]
    fn what_webpki_says_of_a_certificate_is_known_by_its_own_name() {
        let told = |error: webpki::Error| {
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
            assert_eq!(told(error), reason);
        }
        // Whatever else it is.
        let other = CertificateError::Other(OtherError(Arc::new(io::Error::other("else"))));
        let fault = fault(&rustls::Error::InvalidCertificate(other));
        assert_eq!(fault, Fault::new(FaultClass::Misconfigured, "TLS_CERTIFICATE_REFUSED"));
    }
}
