//! Opening a connection: the TLS handshake, or the HTTP/2 preface without TLS. A silent client uses
//! the limit for handshakes, never the one for connections.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
use grantmint_client::tls::Prefixed;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::{TcpStream, UnixStream},
    time::{Instant, timeout_at},
};
use tokio_rustls::server::TlsStream;

use super::{Transport, listener::Accepted};
use crate::{
    auth::peer::Peer,
    listen::{
        connection_limit::{ConnectionLimit, Permit},
        remote::Remote,
    },
    telemetry::{Counts, Metrics},
    tls::{
        Tls,
        server::{Client, HandshakeError},
        trust::Verified,
    },
};

/// Concurrent handshakes per IP address or Unix socket user.
const PER_ADDRESS: usize = 32;

/// A younger handshake is not displaced. A client that opens many connections at once, such as
/// after a restart, may be waiting for this server.
const MIN_AGE: Duration = Duration::from_millis(100);

/// The time limit for the handshake, preface and settings.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The start of the client's connection preface (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The results of opening a connection.
const RESULTS: [&str; 7] =
    ["ok", "refused", "no_certificate", "no_http2", "failed", "timed_out", "displaced"];

/// State shared by all connections that are being opened.
#[derive(Clone)]
pub(super) struct Opening {
    handshakes: ConnectionLimit,
    results: Arc<Counts>,
}

/// An opened connection.
pub(super) struct Opened {
    pub(super) stream: Stream,
    pub(super) connection: PendingConnection,
}

/// A connection that has no slot yet.
pub(super) struct PendingConnection {
    pub(super) peer: Peer,
    /// Held until the connection has a slot.
    pub(super) permit: Permit,
    /// The time limit for its preface and settings.
    pub(super) deadline: Instant,
}

/// The transport stream.
pub(super) enum Stream {
    Plain(Prefixed<TcpStream>),
    Unix(Prefixed<UnixStream>),
    Tls { stream: Box<TlsStream<TcpStream>>, tls: Arc<Tls>, client: Option<Client> },
}

impl Opening {
    pub(super) fn new(handshakes: usize, metrics: &Metrics) -> Self {
        Self {
            handshakes: ConnectionLimit::new(handshakes, PER_ADDRESS).with_min_age(MIN_AGE),
            results: Arc::new(metrics.handshakes(&RESULTS)),
        }
    }

    /// Admits a connection to the handshake.
    pub(super) async fn admit(&self, from: Remote) -> Permit {
        self.handshakes.admit(from).await
    }

    /// Opens a connection; `None` if that fails.
    pub(super) async fn open(&self, accepted: Accepted, permit: Permit) -> Option<Opened> {
        let deadline = Instant::now() + TIMEOUT;
        let opened = tokio::select! {
            biased;
            () = permit.displaced() => Err("displaced"),
            opened = timeout_at(deadline, handshake(accepted)) => opened.unwrap_or(Err("timed_out")),
        };
        self.results.add(opened.as_ref().err().unwrap_or(&"ok"));
        let (stream, peer) = opened.ok()?;
        Some(Opened { stream, connection: PendingConnection { peer, permit, deadline } })
    }
}

/// Completes the handshake. Returns the stream and its peer.
async fn handshake(accepted: Accepted) -> Result<(Stream, Peer), &'static str> {
    let unnamed =
        Peer { name: None, other_names: Vec::new(), certificate: None, from: accepted.from() };
    match accepted {
        Accepted::Unix { stream, name, .. } => {
            let stream = read_preface(stream).await.map_err(|_| "failed")?;
            Ok((Stream::Unix(stream), Peer { name, ..unnamed }))
        }
        Accepted::Tcp { stream, transport: Transport::Plain(name), .. } => {
            let stream = read_preface(stream).await.map_err(|_| "failed")?;
            Ok((Stream::Plain(stream), Peer { name, ..unnamed }))
        }
        Accepted::Tcp { stream, address, transport: Transport::Tls(tls) } => {
            let (stream, client) = tls_handshake(stream, address, &tls).await?;
            let peer = match &client {
                None => unnamed,
                Some(client) => {
                    let Verified { name, other_names, .. } = client.verified.clone();
                    let certificate = client.fingerprint();
                    Peer { name: Some(name), other_names, certificate, ..unnamed }
                }
            };
            Ok((Stream::Tls { stream: Box::new(stream), tls, client }, peer))
        }
    }
}

async fn tls_handshake(
    stream: TcpStream,
    address: IpAddr,
    tls: &Tls,
) -> Result<(TlsStream<TcpStream>, Option<Client>), &'static str> {
    tls.accept(stream, address).await.map_err(|error| {
        tracing::debug!(%address, %error, "TLS handshake failed");
        match error {
            HandshakeError::Refused(_) => "refused",
            HandshakeError::NoIdentity => "no_certificate",
            HandshakeError::NoHttp2 => "no_http2",
            HandshakeError::Failed(_) => "failed",
        }
    })
}

/// Reads the preface, or enough bytes to see that it is not one.
async fn read_preface<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<Prefixed<S>> {
    let mut prefix = BytesMut::with_capacity(1_024);
    while prefix.len() < PREFACE.len() && PREFACE.starts_with(&prefix) {
        if stream.read_buf(&mut prefix).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Prefixed::new(prefix, stream))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn bytes_read_for_the_preface_are_read_again() {
        for sent in [&[PREFACE, b"and more"].concat()[..], b"GET / HTTP/1.1\r\n\r\n"] {
            let (mut client, server) = duplex(4_096);
            client.write_all(sent).await.unwrap();
            let mut stream = read_preface(server).await.unwrap();
            drop(client);
            let mut read = Vec::new();
            stream.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, sent);
        }
        let (client, server) = duplex(64);
        drop(client);
        assert!(read_preface(server).await.is_err());
    }
}
