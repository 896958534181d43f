//! The transport: an accept loop over hyper's HTTP/2, since tonic's own server cannot drain
//! with a watch open and leaves holes that its options do not close.

use std::{
    convert::Infallible,
    error::Error,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http2};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tower_service::Service;

use self::{
    calls::{Arrivals, OpenCalls},
    frames::Excess,
    socket::{Answered, Driver, Socket},
};
use crate::{
    drain::{Drain, Phase},
    listen::{Listen, Listeners},
    rpc::{layers::Guarded, request_body::RequestBody},
};

mod calls;
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

/// Streams at the same time on one connection.
const MAX_STREAMS: u32 = 128;

/// What a reader that stops can hold of each stream.
const SEND_BUFFER: usize = 64 * 1024;

const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
const MAX_HEADER_BYTES: u32 = 8 * 1024;
const HEADER_TABLE: u32 = 4_096;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that has not sent its preface and settings by then is closed.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);

/// The HTTP/2 preface and an empty SETTINGS frame.
const PREFACE_BYTES: usize = 24 + 9;

/// A pause where accepting fails for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections are asked to move on after this, less up to a tenth, so that clients spread
/// over replicas that came later.
const CONNECTION_AGE: Duration = Duration::from_secs(600);

/// A bound server.
#[derive(Debug)]
pub struct Server {
    listeners: Listeners,
    addr: SocketAddr,
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
        Ok(Self { listeners, addr, places, drain, connections: TaskTracker::new() })
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
    pub async fn run<S: Calls>(self, service: Guarded<S>) {
        let Self { listeners, places, drain, connections, .. } = self;
        let (places, answered) = (Arc::new(Semaphore::new(places)), Answered::default());
        loop {
            let (stream, place) = tokio::select! {
                biased;
                () = drain.wait(Phase::Draining) => break,
                accepted = accept(&listeners, &places) => accepted,
            };
            let (socket, driver) = socket::split(stream, answered.clone());
            let (service, drain) = (service.clone(), drain.clone());
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

/// The next connection, after a place for it is free.
async fn accept(
    listeners: &Listeners,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // The semaphore is never closed.
    let place = Arc::clone(places).acquire_owned().await.ok();
    let mut failures = 0_u64;
    loop {
        match listeners.accept().await {
            Ok(stream) => {
                if failures > 0 {
                    tracing::info!(failures, "connections are accepted again");
                }
                // Answers are small: waiting to fill a packet only costs time.
                let _ = stream.set_nodelay(true);
                return (stream, place);
            }
            // Its peer is gone already, or we are short of descriptors or memory: a loop
            // without a pause would spin.
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(%error, "no connection is accepted");
                }
                failures += 1;
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end.
async fn serve<S: Calls>(socket: Socket, driver: Driver, service: Guarded<S>, drain: Drain) {
    let service = TowerToHyperService::new(service);
    let mut calls = OpenCalls::default();
    let connection = builder(calls.arrivals()).serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);

    let mut preface = pin!(sleep(PREFACE_TIMEOUT));
    let mut age = pin!(sleep(CONNECTION_AGE.mul_f64(1.0 - 0.1 * fastrand::f64())));
    tokio::select! {
        ended = driver.run(connection.as_mut(), &mut calls) => return report(ended),
        () = preface.as_mut() => {}
        () = drain.wait(Phase::Draining) => {}
    }
    if driver.bytes_read() < PREFACE_BYTES {
        return;
    }
    tokio::select! {
        ended = driver.run(connection.as_mut(), &mut calls) => return report(ended),
        () = age.as_mut() => {}
        () = drain.wait(Phase::Draining) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = driver.run(connection, &mut calls) => report(ended),
        () = drain.wait(Phase::Cut) => {}
    }
}

/// Logs the end of a connection that was cut on our side.
fn report(ended: Result<Result<(), hyper::Error>, Excess>) {
    let error = match ended {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error,
        Err(excess) => {
            let limit = excess.as_str();
            tracing::warn!(limit, "a connection is cut: its client exceeds a limit");
            return;
        }
    };
    if error.is_timeout() {
        tracing::info!("a connection is cut: its client does not answer pings");
    } else if let Some(error) = error.source().and_then(|error| error.downcast_ref::<h2::Error>())
        && error.is_library()
        && let Some(reason) = error.reason()
    {
        tracing::warn!(?reason, %error, "a connection is cut: its client breaks HTTP/2");
    }
}

fn builder(calls: Arrivals) -> http2::Builder<Arrivals> {
    let mut builder = http2::Builder::new(calls);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        // The socket limits both by rate.
        .max_local_error_reset_streams(None)
        .max_pending_accept_reset_streams(usize::MAX)
        .max_send_buf_size(SEND_BUFFER)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEADER_BYTES)
        .header_table_size(HEADER_TABLE)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}
