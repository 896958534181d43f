//! TLS on the real binary: accepted clients, refused clients with the reason, and clients that are
//! disconnected.

mod accepted;
mod agent;
mod commands;
mod doctor;
mod handshakes;
mod languages;
pub(crate) mod pki;
mod refused;
mod reload;
mod workload;

use std::{error::Error, io, path::PathBuf, pin::Pin, sync::Arc, task};

use grantmint_client::tls::{Expected, Files, Prefixed, connect};
use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::ServerName,
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Channel, Endpoint};
use tower_service::Service;

use self::pki::{Entity, Pki};
use crate::{
    frames::connect as connect_to,
    support::{Serve, soon},
};

/// The HTTP/2 preface and an empty SETTINGS frame.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A client's TLS configuration.
pub(crate) struct Client {
    config: ClientConfig,
}

impl Client {
    /// A client with this chain, its own certificate first.
    pub(crate) fn with(pki: &Pki, chain: &[&Entity]) -> Self {
        Self::with_versions(pki, chain, &[&rustls::version::TLS13])
    }

    /// A client that verifies the server with this authority.
    fn trusting(root: &Entity, chain: &[&Entity]) -> Self {
        Self::new(root, chain, &[&rustls::version::TLS13])
    }

    fn with_versions(
        pki: &Pki,
        chain: &[&Entity],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        Self::new(&pki.server_ca, chain, versions)
    }

    fn new(
        root: &Entity,
        chain: &[&Entity],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(root.certificate.clone()).expect("a root");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match chain.first() {
            None => builder.with_no_client_auth(),
            Some(leaf) => {
                let key = provider.key_provider.load_private_key(leaf.key()).expect("a key");
                let chain = chain.iter().map(|entity| entity.certificate.clone());
                let certified = CertifiedKey::new(chain.collect(), key);
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self { config }
    }

    /// The client side of the handshake.
    pub(crate) async fn shake_hands(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        soon(connector.connect(name, stream)).await
    }

    /// Connects and waits for the server's first frame; returns the alert if it is refused.
    pub(crate) async fn try_connect(&self, serve: &Serve) -> Result<TlsStream<TcpStream>, String> {
        let stream = self.shake_hands(connect_to(serve.address()).await).await;
        let mut stream = stream.map_err(|error| alert(&error))?;
        stream.write_all(HELLO).await.map_err(|error| alert(&error))?;
        match soon(stream.read_u8()).await {
            Ok(_) => Ok(stream),
            Err(error) => Err(alert(&error)),
        }
    }
}

fn alert(error: &io::Error) -> String {
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => format!("{alert:?}"),
        _ => error.to_string(),
    }
}

/// The negotiated version.
fn version(stream: &TlsStream<TcpStream>) -> Option<ProtocolVersion> {
    stream.get_ref().1.protocol_version()
}

/// A channel of a client with this certificate.
async fn channel(pki: &Pki, serve: &Serve, pair: (PathBuf, PathBuf)) -> Channel {
    connected(pki, serve, Some(pair)).await
}

/// A channel of a client with this certificate, or without one.
pub(crate) async fn connected(
    pki: &Pki,
    serve: &Serve,
    pair: Option<(PathBuf, PathBuf)>,
) -> Channel {
    let files = Files { ca: Some(pki.path("server-ca.pem")), pair };
    let endpoint = Endpoint::from_shared(serve.server.clone()).expect("a URL");
    soon(endpoint.connect_with_connector(Dial(files))).await.expect("a connection")
}

#[derive(Clone)]
struct Dial(Files);

type Connected = TokioIo<Prefixed<TlsStream<TcpStream>>>;

impl Service<Uri> for Dial {
    type Response = Connected;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Connected, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut task::Context<'_>) -> task::Poll<Result<(), Self::Error>> {
        task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let files = self.0.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(server.authority().expect("a value").as_str()).await?;
            let expected = Expected::parse("localhost")?;
            Ok(TokioIo::new(connect(stream, &expected, &files).await?))
        })
    }
}

/// A counter's value for this label.
async fn counted(serve: &Serve, metric: &str, label: &str) -> u64 {
    let (_, page) = serve.page("/metrics").await;
    let start = format!("{metric}{{{label}}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&start));
    line.unwrap_or_else(|| panic!("no {start}\n{page}")).parse().expect("a number")
}
