//! Connections to a server.

use std::{
    error::Error as StdError,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::{
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};
use tower_service::Service;

use crate::{
    Bearer, Server, ServerError,
    server::bare_host,
    tls::{Expected, Files, Prefixed, connect},
};

/// A stream may hold about three chunks that are not read, and a connection those of 32 streams:
/// chunks that wait lose their time, and streams that are not read must not block other calls.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// A chunk of a bulk fits into one frame of this size.
const FRAME: u32 = 128 * 1024;

const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection whose calls carry the bearer token, if there is one.
pub type Connection = InterceptedService<Channel, Bearer>;

/// The settings of a connection to this server: flow control for bulks, and pings.
pub fn endpoint(server: &Server) -> Result<Endpoint, ServerError> {
    let endpoint = Endpoint::from_shared(server.to_string());
    Ok(endpoint
        .map_err(|_| ServerError::Malformed)?
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        // Pings find a connection that broke silently before calls fail.
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true))
}

/// How long an address may stay silent before the next one is tried too: the delay that
/// <https://www.rfc-editor.org/rfc/rfc8305#section-5> recommends.
const STAGGER: Duration = Duration::from_millis(250);

/// Why there is no connection over TCP. Every cause may pass, also a firewall's refusal, so it is
/// kept apart from the errors of a Unix socket.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct TcpError(#[from] io::Error);

/// Whether a Unix socket that was not connected to may be later: a server that restarts creates it
/// again, and one that is busy accepts later.
#[must_use]
pub const fn is_transient_socket_error(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{ConnectionRefused, NotADirectory, NotFound, TimedOut, WouldBlock};

    matches!(kind, NotFound | NotADirectory | ConnectionRefused | WouldBlock | TimedOut)
}

type BoxError = Box<dyn StdError + Send + Sync>;

/// Connects to one of a name's addresses, in random order: many clients spread over the replicas
/// behind a headless service. An address that does not accept a TCP connection within 250 ms is tried
/// beside the next one; the TLS handshake is made with the first that does.
#[derive(Clone, Debug)]
pub struct Connector {
    tls: Option<(Expected, Files)>,
}

/// A connection in plain text or over TLS.
pub type Stream = Either<TcpStream, Box<Prefixed<TlsStream<TcpStream>>>>;

impl Connector {
    /// Connects in plain text.
    #[must_use]
    pub const fn plaintext() -> Self {
        Self { tls: None }
    }

    /// Connects over TLS; the files are read for each connection.
    #[must_use]
    pub const fn tls(expected: Expected, files: Files) -> Self {
        Self { tls: Some((expected, files)) }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        let tls = self.tls.clone();
        Box::pin(async move {
            let default_port = if tls.is_some() { 443 } else { 80 };
            let port = server.port_u16().unwrap_or(default_port);
            let stream = connect_any(bare_host(&server), port).await.map_err(TcpError)?;
            stream.set_nodelay(true).map_err(TcpError)?;
            Ok(TokioIo::new(match tls {
                None => Stream::Left(stream),
                Some((expected, files)) => {
                    Stream::Right(Box::new(connect(stream, &expected, &files).await?))
                }
            }))
        })
    }
}

async fn connect_any(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    fastrand::shuffle(&mut addresses);
    first_of(addresses, TcpStream::connect).await
}

/// Connects to one of these addresses. The next one is tried when one fails, and beside those that
/// have not answered for [`STAGGER`].
async fn first_of<S, F>(
    addresses: Vec<SocketAddr>,
    connect: impl Fn(SocketAddr) -> F,
) -> io::Result<S>
where
    F: Future<Output = io::Result<S>>,
{
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut attempts = FuturesUnordered::new();
    let mut addresses = addresses.into_iter();
    loop {
        let next = addresses.next();
        let wait = if next.is_some() { STAGGER } else { Duration::MAX };
        attempts.extend(next.map(&connect));
        match timeout(wait, attempts.next()).await {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => last = error,
            Ok(None) => return Err(last),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::{Instant, sleep};

    use super::*;

    /// Connects to these ports, which answer so, and returns the one that is connected to.
    async fn port_of(ports: &[u16]) -> io::Result<u16> {
        let addresses = ports.iter().map(|port| SocketAddr::from(([10, 0, 0, 1], *port)));
        first_of(addresses.collect(), async |address| match address.port() {
            REFUSES => Err(io::ErrorKind::ConnectionRefused.into()),
            SILENT => pending().await,
            SLOW => {
                sleep(STAGGER * 3).await;
                Ok(SLOW)
            }
            port => Ok(port),
        })
        .await
    }

    const REFUSES: u16 = 1;
    const SILENT: u16 = 2;
    const SLOW: u16 = 3;

    #[tokio::test(start_paused = true)]
    async fn next_address_is_tried_after_a_refusal_or_a_silence() {
        for (ports, connected, after) in [
            (&[9, REFUSES][..], 9, Duration::ZERO),
            (&[REFUSES, 9], 9, Duration::ZERO),
            (&[SILENT, 9], 9, STAGGER),
            (&[SILENT, SILENT, REFUSES, 9], 9, STAGGER * 2),
            // It goes on while the others are tried.
            (&[SLOW, SILENT], SLOW, STAGGER * 3),
        ] {
            let started = Instant::now();
            assert_eq!(port_of(ports).await.unwrap(), connected, "{ports:?}");
            assert_eq!(started.elapsed(), after, "{ports:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn last_error_is_returned() {
        let refused = port_of(&[REFUSES, REFUSES]).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(port_of(&[]).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
