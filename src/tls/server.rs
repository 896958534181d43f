//! The server's side of TLS: handshakes with what is in force, and the end of what no longer is.

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

/// How often the wall clock is read again while a certificate's end is waited for: it may be
/// stepped, and the timer stops while the machine is suspended.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long a client that was refused may take to read why.
const LINGER: Duration = Duration::from_secs(1);

/// What such a client may still have sent.
const LINGERING_BYTES: u64 = 64 * 1024;

/// TLS with the certificate and the authorities that are in force.
pub struct Tls {
    in_force: ArcSwap<InForce>,
    /// Notified when a part of it is replaced.
    replaced: watch::Sender<()>,
    auth: ClientAuth,
    min_version: MinVersion,
    failures: Failures,
    clock: Clock,
}

/// What handshakes are made with. A handshake under way keeps what it began with.
#[derive(Clone)]
struct InForce {
    /// None until the Workload API has sent the first.
    identity: Option<Arc<Identity>>,
    trust: Arc<Trust>,
}

/// A client that proved its name, and what it proved it with.
#[derive(Debug)]
pub struct Client {
    /// Its name, and when its certificate ends.
    pub verified: Verified,
    chain: Chain,
    /// What it was verified with.
    trust: Arc<Trust>,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The client is not authenticated.
    #[error("the client is not authenticated: {}", .0.as_str())]
    Refused(Cause),
    /// There is no certificate to show yet.
    #[error("the Workload API has sent no SVID yet")]
    NoIdentity,
    /// The client does not speak HTTP/2.
    #[error("the client does not offer h2 by ALPN")]
    NoHttp2,
    /// The client does not speak TLS as it is spoken here, or went away.
    #[error("{0}")]
    Failed(String),
}

impl Tls {
    /// TLS with what was loaded. Clients that are not authenticated are recorded in `audit`.
    #[must_use]
    pub fn new(loaded: &Loaded, clock: Clock, metrics: &Metrics, audit: Option<Audit>) -> Self {
        let trust = Arc::new(Trust::new(Arc::clone(&loaded.trust), Arc::default()));
        let identity = match &loaded.identity {
            LoadedIdentity::Files(identity, _) => Some(Arc::clone(identity)),
            LoadedIdentity::Awaited => None,
        };
        Self {
            in_force: ArcSwap::from_pointee(InForce { identity, trust }),
            replaced: watch::channel(()).0,
            auth: loaded.config.client_auth,
            min_version: loaded.config.min_version,
            failures: Failures::new(metrics, &Cause::ALL.map(Cause::as_str), audit),
            clock,
        }
    }

    /// Shows this certificate from now on.
    pub fn set_identity(&self, identity: &Arc<Identity>) {
        self.replace(|now| InForce { identity: Some(Arc::clone(identity)), ..InForce::clone(now) });
    }

    /// Trusts these files from now on, and no others: connections of clients that are no longer
    /// vouched for come to their end.
    pub fn set_file_trust(&self, files: &Arc<FileTrust>) {
        self.replace(|now| {
            let trust = Arc::new(now.trust.with_files(Arc::clone(files)));
            InForce { trust, ..InForce::clone(now) }
        });
    }

    /// Shows this certificate and trusts these bundles of the Workload API from now on, and no
    /// others: connections of clients that are no longer vouched for come to their end.
    pub fn set_received(&self, identity: &Arc<Identity>, received: &Arc<ReceivedBundles>) {
        self.replace(|now| {
            // Where they are the same, no connection needs to be verified again.
            let trust = if now.trust.received() == *received {
                Arc::clone(&now.trust)
            } else {
                Arc::new(now.trust.with_received(Arc::clone(received)))
            };
            InForce { identity: Some(Arc::clone(identity)), trust }
        });
    }

    fn replace(&self, next: impl FnMut(&Arc<InForce>) -> InForce) {
        self.in_force.rcu(next);
        self.replaced.send_replace(());
    }

    /// The bundles of the Workload API that are in force.
    pub(super) fn received(&self) -> Arc<ReceivedBundles> {
        self.in_force.load().trust.received()
    }

    /// Told whenever the certificate or the authorities are replaced.
    #[must_use]
    pub fn replaced(&self) -> watch::Receiver<()> {
        self.replaced.subscribe()
    }

    /// The certificates and lists in force, and how long they hold.
    #[must_use]
    pub fn validities(&self) -> Vec<(String, Validity)> {
        let InForce { identity, trust } = &**self.in_force.load();
        let server = identity.iter().map(|it| ("server".to_owned(), it.validity));
        server.chain(trust.validities()).collect()
    }

    /// Shakes hands with a client. It has a name, or none where it needs none.
    pub async fn accept<I>(
        &self,
        stream: I,
        from: IpAddr,
    ) -> Result<(TlsStream<I>, Option<Client>), HandshakeError>
    where
        I: AsyncRead + AsyncWrite + Unpin,
    {
        let InForce { identity, trust } = InForce::clone(&self.in_force.load());
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
        // rustls refuses a client that offers other protocols alone, not one that offers none.
        if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(HandshakeError::NoHttp2);
        }
        let client = verifier.found().and_then(|found| found.as_ref().ok());
        let client = client.map(|(chain, verified)| Client {
            verified: verified.clone(),
            chain: Arc::clone(chain),
            trust,
        });
        Ok((stream, client))
    }

    /// Why a handshake failed; a client that is not authenticated is counted and logged.
    fn explain(&self, error: &io::Error, verifier: &Verifier, from: IpAddr) -> HandshakeError {
        let refused = match verifier.found() {
            Some(Err(refused)) => refused.clone(),
            None if is_without_certificate(error) => {
                Refused { cause: Cause::NoCredential, claim: String::new() }
            }
            _ => return HandshakeError::Failed(error.to_string()),
        };
        self.failures.record(from.into(), refused.cause.as_str(), &refused.claim);
        HandshakeError::Refused(refused.cause)
    }

    /// What one handshake is made with.
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
        // A resumed session is not verified again.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Returns when the client's certificate has ended, or is no longer trusted.
    pub async fn until_untrusted(&self, mut client: Client) {
        let mut replaced = self.replaced.subscribe();
        loop {
            let (now, trust) = (self.clock.now().wall, Arc::clone(&self.in_force.load().trust));
            if !Arc::ptr_eq(&trust, &client.trust) {
                match trust.verify(&client.chain, now) {
                    Ok(verified) => client = Client { verified, trust, ..client },
                    Err(refused) => return client.log_end(refused.cause),
                }
            }
            let left = client.verified.end.since(now);
            if left.is_zero() {
                // It may be a revocation list that has ended.
                let refused = client.trust.verify(&client.chain, now).err();
                return client.log_end(refused.map_or(Cause::Expired, |refused| refused.cause));
            }
            tokio::select! {
                () = sleep(left.min(LOOK_AGAIN)) => {}
                // It lasts as long as self.
                _ = replaced.changed() => {}
            }
        }
    }
}

impl Client {
    /// What tells its certificate from others.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.chain.first().map(|certificate| Fingerprint::of(certificate))
    }

    /// Logs why its connection ends.
    fn log_end(&self, cause: Cause) {
        let name = self.verified.name.to_string();
        if cause == Cause::Expired {
            tracing::info!(name, "a connection ends: its client's certificate has expired");
        } else {
            let cause = cause.as_str();
            tracing::info!(
                name,
                cause,
                "a connection ends: its client's certificate is no longer trusted"
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

/// Waits for the client to close. To close with bytes unread resets the connection, and the
/// alert that says why may never be read.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    if stream.shutdown().await.is_ok() {
        let _ = copy(&mut stream.take(LINGERING_BYTES), &mut sink()).await;
    }
}
