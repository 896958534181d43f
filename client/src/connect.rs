//! Connections to a server.

use std::{
    error::Error as StdError,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use tonic::transport::Endpoint;
use tower_service::Service;

use crate::{
    Server, ServerError,
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

type BoxError = Box<dyn StdError + Send + Sync>;

/// Connects to one of a name's addresses, chosen at random: many clients spread over the replicas
/// behind a headless service.
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
            let stream = connect_any(bare_host(&server), port).await?;
            stream.set_nodelay(true)?;
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
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
