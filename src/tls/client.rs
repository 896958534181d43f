//! The client side of TLS, for the commands.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use webpki::{EndEntityCert, KeyUsage};
use zeroize::Zeroizing;

use super::{
    HTTP2,
    certificate::{Names, ParsedCertificate},
    files::read_file,
    identity::certify,
    prefixed::Prefixed,
    provider,
};
use crate::auth::name::SpiffeId;

/// How long to wait for the server's first bytes.
const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(1);

/// The files that a client uses. They are read for each connection.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The authorities to verify the server with; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate and key.
    pub pair: Option<(PathBuf, PathBuf)>,
}

/// The expected name of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A DNS name or an IP address.
    Host(ServerName<'static>),
    /// A SPIFFE ID.
    Spiffe(SpiffeId),
}

/// Why a TLS connection cannot be established.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// A file cannot be used.
    #[error("{file}: {why}")]
    File {
        /// The path.
        file: String,
        /// The reason.
        why: String,
    },
    /// The system has no root certificates.
    #[error("this system has no root certificates")]
    NoRoots,
    /// The server's certificate is not trusted or has another name.
    #[error("the server's certificate is refused: {0}")]
    Server(String),
    /// The server sent an alert.
    #[error("the server refused with the TLS alert {0}")]
    Alert(String),
    /// The handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Failed(String),
}

impl Expected {
    /// Parses a DNS name, an IP address or a SPIFFE ID.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.get(..9).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe://")) {
            let id = SpiffeId::parse(text);
            return id
                .map(Self::Spiffe)
                .map_err(|_| "is not a SPIFFE ID: write spiffe://DOMAIN/PATH");
        }
        let name = ServerName::try_from(text.to_owned());
        name.map(Self::Host).map_err(|_| "is neither a DNS name nor a SPIFFE ID")
    }
}

/// Connects over `stream` to a server that must be `expected`.
///
/// In TLS 1.3 a client's handshake completes before the server has verified the client's
/// certificate. So this also waits for the server's first bytes: HTTP/2 settings, or an alert with
/// the reason for a refusal.
pub async fn connect<I>(
    stream: I,
    expected: &Expected,
    files: &Files,
) -> Result<Prefixed<TlsStream<I>>, ConnectError>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (name, config) = (server_name(expected), config(expected, files)?);
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let mut stream = connected.map_err(|error| explain(&error))?;
    if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
        return Err(ConnectError::Failed("the server does not speak HTTP/2".to_owned()));
    }
    let mut prefix = BytesMut::with_capacity(1_024);
    // Some servers wait for the client's first bytes.
    if let Ok(read) = timeout(FIRST_BYTES_TIMEOUT, stream.read_buf(&mut prefix)).await {
        match read {
            Ok(0) => {
                return Err(ConnectError::Failed("the server closed the connection".to_owned()));
            }
            Ok(_) => {}
            Err(error) => return Err(explain(&error)),
        }
    }
    Ok(Prefixed::new(prefix, stream))
}

fn config(expected: &Expected, files: &Files) -> Result<ClientConfig, ConnectError> {
    let roots = roots(files.ca.as_deref())?;
    let failed = |error: Error| ConnectError::Failed(error.to_string());
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = match expected {
        Expected::Host(_) => builder.with_root_certificates(roots),
        Expected::Spiffe(id) => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(SpiffeVerifier {
                id: id.clone(),
                anchors: roots.roots,
                algorithms: provider().signature_verification_algorithms,
            }))
        }
    };
    let mut config = match &files.pair {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = certificates(cert)?;
            let of_key = |why: String| ConnectError::File { file: shown(key), why };
            let pem = read_file(key).map_err(|error| of_key(error.to_string()))?;
            let certified = certify(chain, &Zeroizing::new(pem));
            let certified = certified.map_err(|error| of_key(error.parts().1.to_owned()))?;
            let resolver = rustls::sign::SingleCertAndKey::from(certified);
            builder.with_client_cert_resolver(Arc::new(resolver))
        }
    };
    config.alpn_protocols = vec![HTTP2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn shown(path: &Path) -> String {
    path.display().to_string().escape_debug().to_string()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let of_file = |why: String| ConnectError::File { file: shown(path), why };
    let pem = read_file(path).map_err(|error| of_file(error.to_string()))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err(of_file("holds no certificate in PEM form".to_owned())),
        Ok(all) => Ok(all),
        Err(_) => Err(of_file("has a part that is not PEM".to_owned())),
    }
}

/// The authorities in a file, or the system's.
fn roots(file: Option<&Path>) -> Result<RootCertStore, ConnectError> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() { Err(ConnectError::NoRoots) } else { Ok(roots) };
    };
    for certificate in certificates(file)? {
        let why = "has a certificate that cannot be used".to_owned();
        roots.add(certificate).map_err(|_| ConnectError::File { file: shown(file), why })?;
    }
    Ok(roots)
}

fn server_name(expected: &Expected) -> ServerName<'static> {
    match expected {
        Expected::Host(name) => name.clone(),
        // This is only sent to the server, not used to verify it. An IP address is not sent at all.
        Expected::Spiffe(_) => ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()),
    }
}

/// Converts an error to one that says what must be fixed.
fn explain(error: &std::io::Error) -> ConnectError {
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(why)) => ConnectError::Server(match why {
            CertificateError::UnknownIssuer => "it was not issued by a trusted authority".into(),
            why => why.to_string(),
        }),
        Some(Error::General(why)) => ConnectError::Server(why.clone()),
        Some(Error::AlertReceived(alert)) => ConnectError::Alert(alert_name(*alert)),
        _ => ConnectError::Failed(error.to_string()),
    }
}

/// The name of a TLS alert in the standard, such as `unknown_ca`.
fn alert_name(alert: rustls::AlertDescription) -> String {
    let mut name = String::new();
    for letter in format!("{alert:?}").chars() {
        // The only abbreviation in the names is "CA".
        if letter.is_uppercase() && !name.is_empty() && !name.ends_with("_c") {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Verifies a server by its SPIFFE ID, as servers verify callers.
#[derive(Debug)]
struct SpiffeVerifier {
    id: SpiffeId,
    anchors: Vec<TrustAnchor<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for SpiffeVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let names = ParsedCertificate::new(leaf).and_then(|read| read.names());
        match names.map_err(super::Cause::alert)? {
            Names::Spiffe(id) if id == self.id => {}
            names => {
                let other = names.into_callers().0;
                let why = format!("its name is {other}, not {}", self.id.as_str());
                return Err(Error::General(why));
            }
        }
        let usage = KeyUsage::server_auth();
        let leaf = EndEntityCert::try_from(leaf).map_err(|error| refused(&error))?;
        leaf.verify_for_usage(
            self.algorithms.all,
            &self.anchors,
            intermediates,
            now,
            usage,
            None,
            None,
        )
        .map_err(|error| refused(&error))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

fn refused(error: &webpki::Error) -> Error {
    super::Cause::from(error.clone()).alert().into()
}
