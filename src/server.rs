//! The transport: an accept loop over h2, since tonic's own server cannot drain with a watch
//! open and leaves holes that its options do not close.

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
    opening::{Newcomer, Open, Opening, Stream},
    places::Places,
    refusals::Refusals,
    socket::{Answered, Io, Watched},
    unread::{Sum, Unread},
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
    telemetry::{CutMetrics, Metrics},
    tls::{Tls, server::Client},
};

mod calls;
mod connection;
pub mod descriptors;
mod exchange;
mod frames;
mod http2;
mod limits;
mod listener;
mod log;
mod opening;
mod places;
mod refusals;
mod socket;
mod unread;

/// What answers calls: one clone a connection.
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

/// Where the server listens and how it leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The addresses.
    pub listen: Addresses,
    /// Whether TLS ends before this server, in a mesh: all that come over TCP are one caller.
    pub plaintext: bool,
    /// How long calls are served as before after SIGTERM, so that balancers notice.
    pub drain_delay: Duration,
    /// How long open work may take to end after that.
    pub drain_grace: Duration,
    /// What connections may use.
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

/// What connections of TCP are made over.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Without TLS: who comes over it, where that is known of all of them.
    Plain(Option<CallerName>),
    /// TLS, where each client proves who it is.
    Tls(Arc<Tls>),
}

impl Config {
    /// What connections of TCP are made over where there is no TLS here.
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

/// What all connections share.
#[derive(Clone)]
struct Shared {
    opening: Opening,
    places: Places,
    log_limit: LogLimit,
    answered: Answered,
    /// Unread bytes of all connections.
    unread: Sum,
    uploads: Uploads,
    limits: Limits,
    drain: Drain,
    cut: CutMetrics,
}

/// Why a server does not listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address of TCP cannot be bound.
    #[error("cannot listen on {address}: {error}")]
    Tcp {
        /// The address.
        address: Listen,
        /// Why.
        error: io::Error,
    },
    /// The Unix socket cannot be bound.
    #[error("cannot listen on {socket}: {error}")]
    Unix {
        /// The socket.
        socket: Unix,
        /// Why.
        error: UnixError,
    },
}

impl Server {
    /// Binds as `config` says, for these callers.
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
            places: Places::new(&limits, callers),
            log_limit: LogLimit::default(),
            answered: Answered::default(),
            unread: Sum::default(),
            uploads: Uploads::default(),
            limits,
            drain,
            cut: metrics.streams_cut(),
        };
        Ok(Self { listeners, addr, shared, connections: TaskTracker::new() })
    }

    /// Where it listens on TCP, if it does: for `localhost`, one of two addresses.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// Tells how many connections are open, while it runs.
    pub fn open_connections(&self) -> impl Fn() -> usize + Send + Sync + 'static + use<> {
        let connections = self.connections.clone();
        move || connections.len()
    }

    /// Serves until the drain has ended: it stops accepting when that begins, and returns when
    /// every connection has ended or the rest is cut.
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
    /// Serves what comes in by this listener, and closes it when the drain begins.
    async fn accept_from<S: Calls>(
        self,
        listener: Listener,
        layers: Layers<S>,
        connections: TaskTracker,
    ) {
        loop {
            let next = async {
                let accepted = listener.accept().await;
                let turn = self.opening.turn(accepted.from()).await;
                (accepted, turn)
            };
            let (accepted, turn) = tokio::select! {
                biased;
                () = self.drain.wait(Phase::Draining) => break,
                next = next => next,
            };
            let (shared, layers) = (self.clone(), layers.clone());
            connections.spawn(async move {
                let opened = tokio::select! {
                    opened = shared.opening.open(accepted, turn) => opened,
                    () = shared.drain.wait(Phase::Draining) => None,
                };
                if let Some(open) = opened {
                    shared.serve(open, layers).await;
                }
            });
            // Those that came before have their turn: who has sent a preface is no longer silent,
            // and does not give way to the next.
            yield_now().await;
        }
    }

    async fn serve<S: Calls>(self, open: Open, layers: Layers<S>) {
        let Open { stream, newcomer } = open;
        match stream {
            Stream::Plain(stream) => self.converse(stream, newcomer, layers, pending()).await,
            Stream::Unix(stream) => self.converse(stream, newcomer, layers, pending()).await,
            Stream::Tls { stream, tls, client } => {
                let untrusted = until_untrusted(&tls, client);
                self.converse(stream, newcomer, layers, untrusted).await;
            }
        }
    }

    /// Serves a connection, once it has spoken HTTP/2, where there is a place for it.
    async fn converse<I: Io, S: Calls>(
        self,
        stream: I,
        newcomer: Newcomer,
        layers: Layers<S>,
        untrusted: impl Future<Output = ()>,
    ) {
        let Self { places, log_limit, answered, unread, uploads, limits, drain, cut, .. } = self;
        let Newcomer { peer, turn, due } = newcomer;
        let (unread, refusals) = (Unread::new(unread), Refusals::new());
        let watched = Watched { answered, unread: unread.clone(), refusals: refusals.clone() };
        let halves = socket::split(stream, watched);
        let lifetime = Lifetime::default();
        let service = layers.around(peer.clone(), lifetime.clone());
        let exchanges = Exchanges {
            unread,
            refusals,
            stall: limits.stall,
            cut,
            uploads: uploads.of_connection(),
            turns: Turns::default(),
        };
        let log = ConnectionLog::new(peer.clone(), log_limit);
        let mut connection =
            Connection::new(halves, service, exchanges, lifetime, log, &limits, drain);
        if !connection.begins(&turn, due).await {
            return;
        }
        match places.take(&peer) {
            Ok(place) => {
                drop(turn);
                connection.serve(place, untrusted).await;
            }
            // Until it is closed it holds the place of a handshake.
            Err(denied) => connection.refuse(denied).await,
        }
    }
}

/// Returns when a client's certificate no longer holds; never for one without a certificate.
async fn until_untrusted(tls: &Tls, client: Option<Client>) {
    match client {
        Some(client) => tls.until_untrusted(client).await,
        None => pending().await,
    }
}
