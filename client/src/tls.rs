//! TLS to a server: how it is verified, and which certificate is presented.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use zeroize::Zeroizing;

pub use self::prefixed::Prefixed;
use self::spiffe::{SpiffeVerifier, spiffe_id};

mod prefixed;
mod spiffe;

/// The protocol that is negotiated.
const HTTP2: &[u8] = b"h2";

/// How long to wait for the server's first bytes.
const FIRST_BYTES: Duration = Duration::from_secs(1);

/// How long replacing a certificate and its key may take.
const REPLACED: Duration = Duration::from_millis(100);

/// No bundle of certificates is larger.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The files of a client, in PEM form. They are read again for each connection.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// The authorities that the server is verified with. Default: the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate and its private key.
    pub pair: Option<(PathBuf, PathBuf)>,
}

/// The name that the server must prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A DNS name or an IP address.
    Host(ServerName<'static>),
    /// A SPIFFE ID.
    Spiffe(String),
}

/// Why a TLS connection was not made.
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
    /// The server's certificate was refused.
    #[error("the server's certificate was refused: {0}")]
    Server(String),
    /// The server refused the connection.
    #[error("the server refused with the TLS alert {0}")]
    Alert(String),
    /// The handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Failed(String),
}

impl ConnectError {
    /// Whether a retry may help: a handshake also fails while the server shuts down.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

impl Expected {
    /// Parses a DNS name, an IP address or a SPIFFE ID.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const SCHEME: &str = "spiffe://";
        if text.get(..SCHEME.len()).is_some_and(|scheme| scheme.eq_ignore_ascii_case(SCHEME)) {
            let rest = text.get(SCHEME.len()..).unwrap_or_default();
            let id = spiffe_id(rest).ok_or("is not a SPIFFE ID; write spiffe://DOMAIN/PATH")?;
            return Ok(Self::Spiffe(id));
        }
        let name = ServerName::try_from(text.to_owned());
        name.map(Self::Host).map_err(|_| "is neither a DNS name nor a SPIFFE ID")
    }
}

/// Makes a TLS connection over `stream` to the server that must be `expected`.
///
/// In TLS 1.3 a client's handshake is complete before the server has checked the client's
/// certificate. So this waits for the server's first bytes: HTTP/2's settings, or the alert that
/// says why it refuses.
pub async fn connect<I>(
    stream: I,
    expected: &Expected,
    files: &Files,
) -> Result<Prefixed<TlsStream<I>>, ConnectError>
where
    I: AsyncRead + AsyncWrite + Unpin,
{
    let (name, config) = (server_name(expected), read_config(expected, files).await?);
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let mut stream = connected.map_err(|error| explain(&error))?;
    if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
        return Err(ConnectError::Failed("the server does not speak HTTP/2".to_owned()));
    }
    let mut first = BytesMut::with_capacity(1_024);
    // Other servers may wait for the client to send first.
    if let Ok(read) = timeout(FIRST_BYTES, stream.read_buf(&mut first)).await {
        match read {
            Ok(0) => return Err(ConnectError::Failed("the server closed it".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(explain(&error)),
        }
    }
    Ok(Prefixed::new(first, stream))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// The configuration with the files as they are now. They may be seen half replaced: a certificate
/// without its key, or a part of a file. So they are read again once if they cannot be used.
async fn read_config(expected: &Expected, files: &Files) -> Result<ClientConfig, ConnectError> {
    let read = async || {
        let (expected, files) = (expected.clone(), files.clone());
        let read = spawn_blocking(move || config(&expected, &files)).await;
        read.map_err(|error| ConnectError::Failed(error.to_string()))?
    };
    match read().await {
        Err(ConnectError::File { .. }) => {
            sleep(REPLACED).await;
            read().await
        }
        read => read,
    }
}

/// Reads the files, so it blocks.
fn config(expected: &Expected, files: &Files) -> Result<ClientConfig, ConnectError> {
    if matches!((expected, &files.ca), (Expected::Spiffe(_), None)) {
        return Err(ConnectError::NoRoots);
    }
    let roots = roots(files.ca.as_deref())?;
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| ConnectError::Failed(error.to_string()))?;
    let builder = match expected {
        Expected::Host(_) => builder.with_root_certificates(roots),
        Expected::Spiffe(id) => {
            let verifier = SpiffeVerifier::new(id.clone(), roots, &provider);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match &files.pair {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let pair = SingleCertAndKey::from(certified_key(cert, key, &provider)?);
            builder.with_client_cert_resolver(Arc::new(pair))
        }
    };
    config.alpn_protocols = vec![HTTP2.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn certified_key(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, ConnectError> {
    let chain = certificates(cert)?;
    let pem = read(key)?;
    let der = PrivateKeyDer::from_pem_slice(&pem);
    let der = der.map_err(|_| file_error(key, "holds no private key in PEM form"))?;
    CertifiedKey::from_der(chain, der, provider).map_err(|error| match error {
        Error::InconsistentKeys(_) => file_error(key, "does not match the certificate"),
        error => file_error(key, format!("cannot be used: {error}")),
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ConnectError> {
    let pem = read(path)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err(file_error(path, "holds no certificate in PEM form")),
        Ok(all) => Ok(all),
        Err(_) => Err(file_error(path, "has a part that is not PEM")),
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
        let added = roots.add(certificate);
        added.map_err(|_| file_error(file, "has a certificate that cannot be used"))?;
    }
    Ok(roots)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, ConnectError> {
    let failed = |error: io::Error| file_error(path, error.to_string());
    // Reading a pipe would block.
    let metadata = fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > MAX_BYTES {
        return Err(file_error(path, "is not a regular file of up to 16 MiB"));
    }
    fs::read(path).map(Zeroizing::new).map_err(failed)
}

fn file_error(path: &Path, why: impl Into<String>) -> ConnectError {
    ConnectError::File {
        file: path.display().to_string().escape_debug().to_string(),
        why: why.into(),
    }
}

fn server_name(expected: &Expected) -> ServerName<'static> {
    match expected {
        Expected::Host(name) => name.clone(),
        // It is not what the server is verified by, and an address is not sent.
        Expected::Spiffe(_) => ServerName::IpAddress(Ipv4Addr::UNSPECIFIED.into()),
    }
}

fn explain(error: &io::Error) -> ConnectError {
    match error.get_ref().and_then(|error| error.downcast_ref::<Error>()) {
        Some(Error::InvalidCertificate(why)) => ConnectError::Server(match why {
            CertificateError::UnknownIssuer => "no trusted authority issued it".into(),
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
        // "CA" is the only abbreviation among them.
        if letter.is_uppercase() && !name.is_empty() && !name.ends_with("_c") {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn files_seen_half_replaced_are_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
        let pairs = [(); 2].map(|()| generate_simple_self_signed(["a".to_owned()]).unwrap());
        let [old, new] = pairs
            .map(|CertifiedKey { cert, signing_key }| (cert.pem(), signing_key.serialize_pem()));
        let files = Files { ca: Some(cert.clone()), pair: Some((cert.clone(), key.clone())) };
        let expected = Expected::parse("a").unwrap();
        for (half_cert, half_key) in
            [(&new.0[..], &old.1[..]), (&new.0[..100], &new.1), (&new.0, ""), ("", &new.1)]
        {
            fs::write(&cert, half_cert).unwrap();
            fs::write(&key, half_key).unwrap();
            let (read, ()) = tokio::join!(read_config(&expected, &files), async {
                sleep(REPLACED / 2).await;
                fs::write(&cert, &new.0).unwrap();
                fs::write(&key, &new.1).unwrap();
            });
            assert!(read.is_ok(), "{:?}", read.err());
        }
        fs::write(&key, &old.1).unwrap();
        let error = read_config(&expected, &files).await.unwrap_err();
        assert!(error.to_string().ends_with("does not match the certificate"), "{error}");
    }

    #[test]
    fn expected_names_are_parsed_by_their_form() {
        let spiffe = Expected::parse("SPIFFE://prod.example.org/ns/media").unwrap();
        assert_eq!(spiffe, Expected::Spiffe("spiffe://prod.example.org/ns/media".to_owned()));
        assert!(matches!(Expected::parse("mint.example"), Ok(Expected::Host(_))));
        assert!(matches!(Expected::parse("10.0.0.1"), Ok(Expected::Host(_))));
        for bad in ["spiffe://UPPER/a", "spiffe://a", "spiffe://a/", "spiffe://a/../b", "a b"] {
            assert!(Expected::parse(bad).is_err(), "{bad}");
        }
    }
}
