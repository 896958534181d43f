//! The transport: an accept loop over hyper's HTTP/2, since tonic's own server cannot drain
//! with a watch open and leaves holes that its options do not close.

use std::{
    convert::Infallible,
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::Request;
use hyper::body::Incoming;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower_service::Service;

use self::{
    accept::accept,
    connection::serve,
    opening::{Open, Opening, Stream},
    socket::{Answered, Io},
};
use crate::{
    auth::name::CallerName,
    drain::{Drain, Phase},
    listen::{Listen, Listeners},
    rpc::{
        layers::{Guarded, Layers},
        request_body::RequestBody,
    },
    telemetry::Metrics,
    tls::{Tls, server::Client},
};

mod accept;
mod calls;
mod connection;
pub mod descriptors;
mod frames;
mod handshakes;
mod opening;
mod socket;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The address.
    pub listen: Listen,
    /// Whether TLS ends before this server, in a mesh: all that come are one caller.
    pub plaintext: bool,
    /// Handshakes at the same time.
    pub handshakes: usize,
    /// How long calls are served as ever after SIGTERM, so that balancers notice.
    pub drain_delay: Duration,
    /// How long open work may take to end after that.
    pub drain_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_051)).into(),
            plaintext: false,
            handshakes: 256,
            drain_delay: Duration::from_secs(3),
            drain_grace: Duration::from_secs(5),
        }
    }
}

/// Connections at the same time, where there are descriptors for that many.
const MAX_CONNECTIONS: usize = 1_024;

/// What connections are made over.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Without TLS: who comes over it, where that is known of all of them.
    Plain(Option<CallerName>),
    /// TLS, where each client proves who it is.
    Tls(Arc<Tls>),
}

impl Config {
    /// What connections are made over where there is no TLS here.
    #[must_use]
    pub fn plain(&self) -> Transport {
        Transport::Plain(if self.plaintext {
            Some(CallerName::Plaintext)
        } else {
            self.listen.is_loopback().then_some(CallerName::Loopback)
        })
    }
}

/// A bound server.
pub struct Server {
    listeners: Listeners,
    addr: SocketAddr,
    opening: Opening,
    drain: Drain,
    connections: TaskTracker,
}

impl Server {
    /// Binds as `config` says.
    pub async fn bind(
        config: &Config,
        transport: Transport,
        drain: Drain,
        metrics: &Metrics,
    ) -> io::Result<Self> {
        let listeners = Listeners::bind(config.listen).await?;
        let addr = listeners.addr()?;
        let places = descriptors::places(MAX_CONNECTIONS);
        // Each takes a descriptor too, and those are few where there are few places.
        let handshakes = config.handshakes.min(places / 4).max(1);
        let opening = Opening::new(transport, handshakes, places, metrics);
        Ok(Self { listeners, addr, opening, drain, connections: TaskTracker::new() })
    }

    /// Where it listens: for `localhost`, one of two addresses.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Tells how many connections are open, while it runs.
    pub fn open_connections(&self) -> impl Fn() -> usize + Send + Sync + 'static + use<> {
        let connections = self.connections.clone();
        move || connections.len()
    }

    /// Serves until the drain is over: it stops accepting when that begins, and returns when
    /// every connection has ended or the rest is cut.
    pub async fn run<S: Calls>(self, layers: Layers<S>) {
        let Self { listeners, opening, drain, connections, .. } = self;
        let answered = Answered::default();
        loop {
            let next = async {
                let (stream, from) = accept(&listeners).await;
                (stream, from, opening.turn(from).await)
            };
            let (stream, from, turn) = tokio::select! {
                biased;
                () = drain.wait(Phase::Draining) => break,
                next = next => next,
            };
            let (opening, layers) = (opening.clone(), layers.clone());
            let (answered, drain) = (answered.clone(), drain.clone());
            connections.spawn(async move {
                let opened = tokio::select! {
                    opened = opening.open(stream, from, turn) => opened,
                    () = drain.wait(Phase::Draining) => None,
                };
                let Some(Open { stream, peer, place }) = opened else { return };
                let service = layers.around(peer);
                match stream {
                    Stream::Plain(stream) => {
                        converse(stream, answered, service, drain, pending()).await;
                    }
                    Stream::Tls(stream, client) => {
                        let untrusted = until_untrusted(&opening.transport, client);
                        converse(stream, answered, service, drain, untrusted).await;
                    }
                }
                drop(place);
            });
        }
        drop(listeners);
        connections.close();
        connections.wait().await;
    }
}

async fn converse<I: Io, S: Calls>(
    stream: I,
    answered: Answered,
    service: Guarded<S>,
    drain: Drain,
    untrusted: impl Future<Output = ()>,
) {
    let (socket, driver) = socket::split(stream, answered);
    serve(socket, driver, service, drain, untrusted).await;
}

/// Returns when a client's certificate no longer holds; never for one without a certificate.
async fn until_untrusted(transport: &Transport, client: Option<Client>) {
    match (transport, client) {
        (Transport::Tls(tls), Some(client)) => tls.until_untrusted(client).await,
        _ => pending().await,
    }
}
