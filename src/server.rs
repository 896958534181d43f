//! The transport: an accept loop over h2. tonic's own server cannot drain while a watch is open,
//! and has gaps that its options do not close.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use http::Request;
use tokio::task::yield_now;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower_service::Service;

pub use self::limits::Limits;
use self::{
    connection::Connection,
    exchange::{Exchanges, Turns},
    listener::Listener,
    log::ConnectionLog,
    opening::{Opened, Opening, PendingConnection, Stream},
    refusals::Refusals,
    slots::Slots,
    socket::{CompletedCalls, Io, SocketState},
    unread::{Total, Unread},
};
use crate::{
    auth::{callers::Callers, name::CallerName},
    drain::{Drain, Phase, lifetime::Lifetime},
    listen::{
        Listen,
        addresses::Addresses,
        log_limit::LogLimit,
        unix::{Unix, UnixError},
    },
    rpc::{
        incoming::{Incoming, Uploads},
        layers::Layers,
        request_body::RequestBody,
    },
    telemetry::{Metrics, ResetMetrics},
    tls::{Tls, server::Client},
};

mod calls;
mod connection;
pub mod descriptors;
mod exceeded;
mod exchange;
mod frames;
mod http2;
mod limits;
mod listener;
mod log;
mod opening;
mod refusals;
mod slots;
mod socket;
mod unread;

/// The service that handles calls, cloned for each connection.
pub trait Calls:
    Service<
        Request<RequestBody<Incoming>>,
        Response = http::Response<Body>,
        Error = Infallible,
        Future: Send + 'static,
    > + Clone
    + Send
    + 'static
{
}

impl<S> Calls for S where
    S: Service<
            Request<RequestBody<Incoming>>,
            Response = http::Response<Body>,
            Error = Infallible,
            Future: Send + 'static,
        > + Clone
        + Send
        + 'static
{
}

/// The settings of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The listen addresses.
    pub listen: Addresses,
    /// Whether a mesh terminates TLS, so that all TCP clients are one caller.
    pub plaintext: bool,
    /// How long calls are served as usual after SIGTERM, so that load balancers notice.
    pub drain_delay: Duration,
    /// How long open calls may take to finish after that.
    pub drain_grace: Duration,
    /// The limits of connections.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_051)).into(),
            plaintext: false,
            drain_delay: Duration::from_secs(3),
            drain_grace: Duration::from_secs(5),
            limits: Limits::default(),
        }
    }
}

/// The transport of TCP connections.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Without TLS; the name of all clients, if they share one.
    Plain(Option<CallerName>),
    /// TLS, with optional client certificates.
    Tls(Arc<Tls>),
}

impl Config {
    /// The transport without TLS.
    #[must_use]
    pub fn plain(&self) -> Transport {
        Transport::Plain(if self.plaintext {
            Some(CallerName::Plaintext)
        } else {
            let is_loopback = self.listen.tcp().is_some_and(Listen::is_loopback);
            is_loopback.then_some(CallerName::Loopback)
        })
    }
}

/// A bound server.
pub struct Server {
    listeners: Vec<Listener>,
    addr: Option<SocketAddr>,
    shared: Shared,
    connections: TaskTracker,
}

/// State shared by all connections.
#[derive(Clone)]
struct Shared {
    opening: Opening,
    slots: Slots,
    log_limit: LogLimit,
    completed: CompletedCalls,
    /// The unread bytes of all connections.
    unread: Total,
    uploads: Uploads,
    limits: Limits,
    drain: Drain,
    resets: ResetMetrics,
}

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The TCP address cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Tcp {
        /// The address.
        address: Listen,
        /// The reason.
        error: io::Error,
    },
    /// The Unix socket cannot be bound.
    #[error("cannot listen on {socket}: {error}")]
    Unix {
        /// The socket.
        socket: Unix,
        /// The reason.
        error: UnixError,
    },
}

impl Server {
    /// Binds the configured addresses.
    pub async fn bind(
        config: &Config,
        transport: Transport,
        callers: Arc<Callers>,
        drain: Drain,
        metrics: &Metrics,
    ) -> Result<Self, BindError> {
        let (mut listeners, mut addr) = (Vec::new(), None);
        if let Some(address) = config.listen.tcp() {
            let bound = Listener::tcp(address, transport).await;
            let (listener, bound) = bound.map_err(|error| BindError::Tcp { address, error })?;
            listeners.push(listener);
            addr = Some(bound);
        }
        if let Some(unix) = config.listen.unix() {
            let bound = Listener::unix(unix);
            let failed = |error| BindError::Unix { socket: unix.clone(), error };
            listeners.push(bound.map_err(failed)?);
        }
        let limits = descriptors::within(config.limits);
        let shared = Shared {
            opening: Opening::new(limits.handshakes, metrics),
            slots: Slots::new(&limits, callers),
            log_limit: LogLimit::default(),
            completed: CompletedCalls::default(),
            unread: Total::default(),
            uploads: Uploads::default(),
            limits,
            drain,
            resets: metrics.streams_reset(),
        };
        Ok(Self { listeners, addr, shared, connections: TaskTracker::new() })
    }

    /// The bound TCP address, if any; for `localhost`, one of the two.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// The limits on connections, as far as the open files allow.
    #[must_use]
    pub const fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// A function that returns the number of open connections.
    pub fn open_connections(&self) -> impl Fn() -> usize + Send + Sync + 'static + use<> {
        let connections = self.connections.clone();
        move || connections.len()
    }

    /// Serves until the drain has ended. Stops accepting connections when the drain begins, and
    /// returns when all connections are closed.
    pub async fn run<S: Calls>(self, layers: Layers<S>) {
        let Self { listeners, shared, connections, .. } = self;
        let accepting = listeners.into_iter().map(|listener| {
            shared.clone().accept_from(listener, layers.clone(), connections.clone())
        });
        join_all(accepting).await;
        connections.close();
        connections.wait().await;
    }
}

impl Shared {
    /// Serves connections of a listener until the drain begins.
    async fn accept_from<S: Calls>(
        self,
        listener: Listener,
        layers: Layers<S>,
        connections: TaskTracker,
    ) {
        loop {
            let next = async {
                let accepted = listener.accept().await;
                let permit = self.opening.admit(accepted.from()).await;
                (accepted, permit)
            };
            let (accepted, permit) = tokio::select! {
                biased;
                () = self.drain.wait(Phase::Draining) => break,
                next = next => next,
            };
            let (shared, layers) = (self.clone(), layers.clone());
            connections.spawn(async move {
                let opened = tokio::select! {
                    opened = shared.opening.open(accepted, permit) => opened,
                    () = shared.drain.wait(Phase::Draining) => None,
                };
                if let Some(open) = opened {
                    shared.serve(open, layers).await;
                }
            });
            // Lets earlier connections run first: one that has sent its preface is not displaced by
            // the next connection.
            yield_now().await;
        }
    }

    async fn serve<S: Calls>(self, open: Opened, layers: Layers<S>) {
        let Opened { stream, connection } = open;
        match stream {
            Stream::Plain(stream) => self.serve_stream(stream, connection, layers, pending()).await,
            Stream::Unix(stream) => self.serve_stream(stream, connection, layers, pending()).await,
            Stream::Tls { stream, tls, client } => {
                let untrusted = until_untrusted(&tls, client);
                self.serve_stream(stream, connection, layers, untrusted).await;
            }
        }
    }

    /// Serves a connection after its HTTP/2 preface, if a slot is free.
    async fn serve_stream<I: Io, S: Calls>(
        self,
        stream: I,
        pending: PendingConnection,
        layers: Layers<S>,
        untrusted: impl Future<Output = ()>,
    ) {
        let Self { slots, log_limit, completed, unread, uploads, limits, drain, resets, .. } = self;
        let PendingConnection { peer, permit, deadline } = pending;
        let (unread, refusals) = (Unread::new(unread), Refusals::new());
        let state = SocketState { completed, unread: unread.clone(), refusals: refusals.clone() };
        let halves = socket::split(stream, state);
        let lifetime = Lifetime::default();
        let service = layers.around(peer.clone(), lifetime.clone());
        let exchanges = Exchanges {
            unread,
            refusals,
            stall: limits.stall,
            resets,
            uploads: uploads.of_connection(),
            turns: Turns::default(),
        };
        let log = ConnectionLog::new(peer.clone(), log_limit);
        let mut connection =
            Connection::new(halves, service, exchanges, lifetime, log, &limits, drain);
        if !connection.wait_for_preface(&permit, deadline).await {
            return;
        }
        match slots.take(&peer) {
            Ok(slot) => {
                drop(permit);
                connection.serve(slot, untrusted).await;
            }
            // The connection keeps its handshake permit until it is closed.
            Err(denied) => connection.refuse(denied).await,
        }
    }
}

/// Waits until a client's certificate is no longer trusted; forever without a certificate.
async fn until_untrusted(tls: &Tls, client: Option<Client>) {
    match client {
        Some(client) => tls.until_untrusted(client).await,
        None => pending().await,
    }
}
