//! The server side of TLS: handshakes with the current certificate and authorities, and detecting
//! clients that are no longer trusted.

use std::{fmt, io, net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    Error, ServerConfig,
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy, sink},
    sync::watch,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    HTTP2,
    cause::Cause,
    certificate::Validity,
    config::{ClientAuth, MinVersion},
    files::{Loaded, LoadedIdentity},
    identity::Identity,
    provider,
    trust::{Chain, FileTrust, ReceivedBundles, Refused, Trust, Verified},
    verifier::Verifier,
};
use crate::{
    audit::Audit,
    auth::{failures::Failures, peer::Fingerprint},
    clock::Clock,
    telemetry::Metrics,
};

/// How often the wall clock is read while waiting for a certificate's expiry: the clock may be
/// stepped, and the timer stops while the machine is suspended.
const CLOCK_POLL: Duration = Duration::from_secs(5);

/// How long a refused client may take to read the alert.
const LINGER: Duration = Duration::from_secs(1);

/// The maximum number of bytes still read from such a client.
const LINGERING_BYTES: u64 = 64 * 1024;

/// TLS with the current certificate and authorities.
pub struct Tls {
    current: ArcSwap<Current>,
    /// Notified when either is replaced.
    replaced: watch::Sender<()>,
    auth: ClientAuth,
    min_version: MinVersion,
    failures: Failures,
    clock: Clock,
}

/// The certificate and authorities. A running handshake keeps those it started with.
#[derive(Clone)]
struct Current {
    /// `None` until the Workload API has sent the first.
    identity: Option<Arc<Identity>>,
    trust: Arc<Trust>,
}

/// An authenticated client, and the certificates that it sent.
#[derive(Debug)]
pub struct Client {
    /// The names, and when the certificate expires.
    pub verified: Verified,
    chain: Chain,
    /// The authorities that verified it.
    trust: Arc<Trust>,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// Client authentication failed.
    #[error("client authentication failed: {}", .0.as_str())]
    Refused(Cause),
    /// The server has no certificate yet.
    #[error("the Workload API has sent no SVID yet")]
    NoIdentity,
    /// The client does not support HTTP/2.
    #[error("the client does not offer h2 by ALPN")]
    NoHttp2,
    /// The TLS handshake failed or the client disconnected.
    #[error("{0}")]
    Failed(String),
}

impl Tls {
    /// Creates TLS from loaded files. Authentication failures are recorded in `audit`.
    #[must_use]
    pub fn new(loaded: &Loaded, clock: Clock, metrics: &Metrics, audit: Option<Audit>) -> Self {
        let trust = Arc::new(Trust::new(Arc::clone(&loaded.trust), Arc::default()));
        let identity = match &loaded.identity {
            LoadedIdentity::Files(identity, _) => Some(Arc::clone(identity)),
            LoadedIdentity::Awaited => None,
        };
        Self {
            current: ArcSwap::from_pointee(Current { identity, trust }),
            replaced: watch::channel(()).0,
            auth: loaded.config.client_auth,
            min_version: loaded.config.min_version,
            failures: Failures::new(metrics, &Cause::ALL.map(Cause::as_str), audit),
            clock,
        }
    }

    /// Replaces the certificate.
    pub fn set_identity(&self, identity: &Arc<Identity>) {
        self.replace(|now| Current { identity: Some(Arc::clone(identity)), ..Current::clone(now) });
    }

    /// Replaces the files' authorities. Connections of clients that are no longer trusted are
    /// closed.
    pub fn set_file_trust(&self, files: &Arc<FileTrust>) {
        self.replace(|now| {
            let trust = Arc::new(now.trust.with_files(Arc::clone(files)));
            Current { trust, ..Current::clone(now) }
        });
    }

    /// Replaces the certificate and the Workload API's bundles. Connections of clients that are no
    /// longer trusted are closed.
    pub fn set_received(&self, identity: &Arc<Identity>, received: &Arc<ReceivedBundles>) {
        self.replace(|now| {
            // If nothing changed, no connection needs to be verified again.
            let trust = if now.trust.received() == *received {
                Arc::clone(&now.trust)
            } else {
                Arc::new(now.trust.with_received(Arc::clone(received)))
            };
            Current { identity: Some(Arc::clone(identity)), trust }
        });
    }

    fn replace(&self, next: impl FnMut(&Arc<Current>) -> Current) {
        self.current.rcu(next);
        self.replaced.send_replace(());
    }

    /// The current bundles from the Workload API.
    pub(super) fn received(&self) -> Arc<ReceivedBundles> {
        self.current.load().trust.received()
    }

    /// A receiver that is notified when the certificate or the authorities are replaced.
    #[must_use]
    pub fn replaced(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// The validity of the current certificates and lists.
    #[must_use]
    pub fn validities(&self) -> Vec<(String, Validity)> {
        let Current { identity, trust } = &**self.current.load();
        let server = identity.iter().map(|it| ("server".to_owned(), it.validity));
        server.chain(trust.validities()).collect()
    }

    /// Performs a handshake. Returns the client, or `None` for one without a certificate where none
    /// is required.
    pub async fn accept<I>(
        &self,
        stream: I,
        from: IpAddr,
    ) -> Result<(TlsStream<I>, Option<Client>), HandshakeError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let Current { identity, trust } = Current::clone(&self.current.load());
        let identity = identity.ok_or(HandshakeError::NoIdentity)?;
        let verifier = Arc::new(Verifier::new(Arc::clone(&trust), self.auth, self.clock.clone()));
        let config = self.config(&identity, Arc::clone(&verifier));
        let config = config.map_err(|error| HandshakeError::Failed(error.to_string()))?;
        let accepted = TlsAcceptor::from(Arc::new(config)).accept(stream).into_fallible().await;
        let stream = match accepted {
            Ok(stream) => stream,
            Err((error, stream)) => {
                let error = self.explain(&error, &verifier, from);
                let _ = timeout(LINGER, linger(stream)).await;
                return Err(error);
            }
        };
        // rustls refuses clients that offer only other protocols, but not clients that offer none.
        if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(HandshakeError::NoHttp2);
        }
        let client = verifier.result().and_then(|result| result.as_ref().ok());
        let client = client.map(|(chain, verified)| Client {
            verified: verified.clone(),
            chain: Arc::clone(chain),
            trust,
        });
        Ok((stream, client))
    }

    /// Explains why a handshake failed. Authentication failures are counted and logged.
    fn explain(&self, error: &io::Error, verifier: &Verifier, from: IpAddr) -> HandshakeError {
        let refused = match verifier.result() {
            Some(Err(refused)) => refused.clone(),
            None if is_without_certificate(error) => {
                Refused { cause: Cause::NoCredential, claim: String::new() }
            }
            _ => return HandshakeError::Failed(error.to_string()),
        };
        self.failures.record(from.into(), refused.cause.as_str(), &refused.claim);
        HandshakeError::Refused(refused.cause)
    }

    /// The rustls configuration for one handshake.
    fn config(&self, identity: &Identity, verifier: Arc<Verifier>) -> Result<ServerConfig, Error> {
        let versions: &[_] = match self.min_version {
            MinVersion::Tls12 => &[&TLS13, &TLS12],
            MinVersion::Tls13 => &[&TLS13],
        };
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(identity.resolver.clone());
        config.alpn_protocols = vec![HTTP2.to_vec()];
        // A resumed session would not be verified again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Waits until the client's certificate has expired or is no longer trusted.
    pub async fn until_untrusted(&self, mut client: Client) {
        let mut replaced = self.replaced.subscribe();
        loop {
            let (now, trust) = (self.clock.now().wall, Arc::clone(&self.current.load().trust));
            if !Arc::ptr_eq(&trust, &client.trust) {
                match trust.verify(&client.chain, now) {
                    Ok(verified) => client = Client { verified, trust, ..client },
                    Err(refused) => return client.log_close(refused.cause),
                }
            }
            let remaining = client.verified.expiry.since(now);
            if remaining.is_zero() {
                // A revocation list may have expired instead.
                let refused = client.trust.verify(&client.chain, now).err();
                return client.log_close(refused.map_or(Cause::Expired, |refused| refused.cause));
            }
            tokio::select! {
                () = sleep(remaining.min(CLOCK_POLL)) => {}
                // The sender lives as long as self.
                _ = replaced.changed() => {}
            }
        }
    }
}

impl Client {
    /// The fingerprint of the client's certificate.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.chain.first().map(|certificate| Fingerprint::of(certificate))
    }

    /// Logs why the client's connection is closed.
    fn log_close(&self, cause: Cause) {
        let name = self.verified.name.to_string();
        if cause == Cause::Expired {
            tracing::info!(name, "closing connection: the client's certificate has expired");
        } else {
            let cause = cause.as_str();
            tracing::info!(
                name,
                cause,
                "closing connection: the client's certificate is no longer trusted"
            );
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

fn is_without_certificate(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|error| error.downcast_ref());
    matches!(error, Some(Error::NoCertificatesPresented))
}

/// Waits for the client to close. Closing with unread bytes would reset the connection, so that the
/// client may never read the alert.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if stream.shutdown().await.is_ok() {
        let _ = copy(&mut stream.take(LINGERING_BYTES), &mut sink()).await;
    }
}
