//! The client's side, for commands: how a server is verified, and what is shown to it.

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
    begun::Begun,
    certificate::{Names, Read},
    files::read_file,
    identity::certify,
    provider,
};
use crate::auth::name::SpiffeId;

/// How long the server's first bytes are waited for.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// Which files a client uses. They are read anew for each connection.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The authorities that the server is verified with; the system's where there is none.
    pub ca: Option<PathBuf>,
    /// The client's own certificate and its key.
    pub pair: Option<(PathBuf, PathBuf)>,
}

/// Whom the server must prove to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A DNS name or an IP address.
    Host(ServerName<'static>),
    /// A SPIFFE ID.
    Spiffe(SpiffeId),
}

/// Why a client does not come to speak TLS.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// A file cannot be used.
    #[error("{file}: {why}")]
    File {
        /// Its path.
        file: String,
        /// Why.
        why: String,
    },
    /// The system has no authorities.
    #[error("this system has no root certificates")]
    NoRoots,
    /// The server is not who it must be.
    #[error("the server's certificate is refused: {0}")]
    Server(String),
    /// The server refused.
    #[error("the server refused with the TLS alert {0}")]
    Alert(String),
    /// The handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Failed(String),
}

impl Expected {
    /// Takes a DNS name, an IP address or a SPIFFE ID.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.get(..9).is_some_and(|scheme| scheme.eq_ignore_ascii_case("spiffe://")) {
            let id = SpiffeId::parse(text);
            return id.map(Self::Spiffe).map_err(|_| "is no SPIFFE ID: write spiffe://DOMAIN/PATH");
        }
        let name = ServerName::try_from(text.to_owned());
        name.map(Self::Host).map_err(|_| "is neither a DNS name nor a SPIFFE ID")
    }
}

/// Shakes hands over `stream` with the server that must be `expected`.
///
/// In TLS 1.3 a client's handshake is complete before the server has looked at its certificate.
/// So what the server sends first is waited for: HTTP/2's settings, or the alert that says why it
/// refuses.
pub async fn connect<I>(
    stream: I,
    expected: &Expected,
    files: &Files,
) -> Result<Begun<TlsStream<I>>, ConnectError>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (name, config) = (server_name(expected), config(expected, files)?);
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let mut stream = connected.map_err(|error| explain(&error))?;
    if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
        return Err(ConnectError::Failed("the server does not speak HTTP/2".to_owned()));
    }
    let mut beginning = BytesMut::with_capacity(1_024);
    // Another server may wait for what we send first.
    if let Ok(read) = timeout(FIRST_WORD, stream.read_buf(&mut beginning)).await {
        match read {
            Ok(0) => return Err(ConnectError::Failed("the server closed it".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(explain(&error)),
        }
    }
    Ok(Begun::new(beginning, stream))
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

/// The authorities in this file, or the system's.
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
        // Sent to the server, and not what it is verified by: an address is not sent at all.
        Expected::Spiffe(_) => ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into()),
    }
}

/// What failed, in the words of who has to mend it.
fn explain(error: &std::io::Error) -> ConnectError {
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(why)) => ConnectError::Server(match why {
            CertificateError::UnknownIssuer => "no authority that is trusted here issued it".into(),
            why => why.to_string(),
        }),
        Some(Error::General(why)) => ConnectError::Server(why.clone()),
        Some(Error::AlertReceived(alert)) => ConnectError::Alert(alert_name(*alert)),
        _ => ConnectError::Failed(error.to_string()),
    }
}

/// What a TLS alert is called in the standard, such as `unknown_ca`.
fn alert_name(alert: rustls::AlertDescription) -> String {
    let mut name = String::new();
    for letter in format!("{alert:?}").chars() {
        // The one abbreviation among them is "CA".
        if letter.is_uppercase() && !name.is_empty() && !name.ends_with("_c") {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Verifies a server by its SPIFFE ID, as callers are.
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
        let names = Read::new(leaf).and_then(|read| read.names());
        match names.map_err(super::Cause::alert)? {
            Names::Spiffe(id) if id == self.id => {}
            names => {
                let other = names.into_callers().0;
                let why = format!("its name is {other}, and not {}", self.id.as_str());
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
