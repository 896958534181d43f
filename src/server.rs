//! The transport: an accept loop over hyper's HTTP/2, since tonic's own server cannot drain
//! with a watch open and leaves holes that its options do not close.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use http::Request;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower_service::Service;

use self::{accept::accept, connection::serve, socket::Answered};
use crate::{
    auth::{name::CallerName, peer::Peer},
    drain::{Drain, Phase},
    listen::{Listen, Listeners},
    rpc::{layers::Layers, request_body::RequestBody},
};

mod accept;
mod calls;
mod connection;
pub mod descriptors;
mod frames;
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
    /// The address; loopback only until there is TLS.
    pub listen: Listen,
    /// How long calls are served as ever after SIGTERM, so that balancers notice.
    pub drain_delay: Duration,
    /// How long open work may take to end after that.
    pub drain_grace: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_051)).into(),
            drain_delay: Duration::from_secs(3),
            drain_grace: Duration::from_secs(5),
        }
    }
}

/// Connections at the same time, where there are descriptors for that many.
const MAX_CONNECTIONS: usize = 1_024;

/// A bound server.
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    addr: SocketAddr,
    /// Who comes over this listener, where that is known of all of them.
    everybody: Option<CallerName>,
    places: usize,
    drain: Drain,
    connections: TaskTracker,
}

impl Server {
    /// Binds to `listen`.
    pub async fn bind(listen: Listen, drain: Drain) -> io::Result<Self> {
        let listeners = Listeners::bind(listen).await?;
        let addr = listeners.addr()?;
        let places = descriptors::places(MAX_CONNECTIONS);
        let everybody = listen.is_loopback().then_some(CallerName::Loopback);
        Ok(Self { listeners, addr, everybody, places, drain, connections: TaskTracker::new() })
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
        let Self { listeners, everybody, places, drain, connections, .. } = self;
        let (places, answered) = (Arc::new(Semaphore::new(places)), Answered::default());
        loop {
            let (stream, from, place) = tokio::select! {
                biased;
                () = drain.wait(Phase::Draining) => break,
                accepted = accept(&listeners, &places) => accepted,
            };
            let (socket, driver) = socket::split(stream, answered.clone());
            let name = everybody.clone();
            let peer = Peer { name, also: Vec::new(), address: from.ip() };
            let (service, drain) = (layers.around(peer), drain.clone());
            connections.spawn(async move {
                serve(socket, driver, service, drain).await;
                drop(place);
            });
        }
        drop(listeners);
        connections.close();
        connections.wait().await;
    }
}
