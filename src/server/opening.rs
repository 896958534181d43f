//! How a connection begins: the TLS handshake, or the preface of HTTP/2 where there is no TLS.
//! A client that is silent holds a place for handshakes, never one for connections.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use bytes::BytesMut;
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
        crowd::{Crowd, Entry},
        remote::Remote,
    },
    telemetry::{Counts, Metrics},
    tls::{
        Tls,
        prefixed::Prefixed,
        server::{Client, HandshakeError},
        trust::Verified,
    },
};

/// Handshakes of one address, or of one user of a Unix socket, at the same time.
const OF_ADDRESS: usize = 32;

/// A handshake does not give way before that: a client that opens many connections at once, as
/// after a restart, is waiting for us.
const SETTLING: Duration = Duration::from_millis(100);

/// A connection that has not done its handshake and sent its preface and settings by then is
/// closed.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What every HTTP/2 client sends first (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The ways that connections begin.
const RESULTS: [&str; 7] =
    ["ok", "refused", "no_certificate", "no_http2", "failed", "timed_out", "displaced"];

/// What connections need to begin, for all of them.
#[derive(Clone)]
pub(super) struct Opening {
    handshakes: Crowd,
    results: Arc<Counts>,
}

/// A connection that has begun.
pub(super) struct Open {
    pub(super) stream: Stream,
    pub(super) newcomer: Newcomer,
}

/// Who has no place for connections yet.
pub(super) struct Newcomer {
    pub(super) peer: Peer,
    /// Held until there is a place.
    pub(super) turn: Entry,
    /// When its preface and settings must have come.
    pub(super) due: Instant,
}

/// What it is made over.
pub(super) enum Stream {
    Plain(Prefixed<TcpStream>),
    Unix(Prefixed<UnixStream>),
    Tls { stream: Box<TlsStream<TcpStream>>, tls: Arc<Tls>, client: Option<Client> },
}

impl Opening {
    pub(super) fn new(handshakes: usize, metrics: &Metrics) -> Self {
        Self {
            handshakes: Crowd::new(handshakes, OF_ADDRESS).settling_for(SETTLING),
            results: Arc::new(metrics.handshakes(&RESULTS)),
        }
    }

    /// The turn of a connection from there.
    pub(super) async fn turn(&self, from: Remote) -> Entry {
        self.handshakes.enter(from).await
    }

    /// Brings a connection to its beginning; none where it fails.
    pub(super) async fn open(&self, accepted: Accepted, turn: Entry) -> Option<Open> {
        let due = Instant::now() + TIMEOUT;
        let opened = tokio::select! {
            biased;
            () = turn.gives_way() => Err("displaced"),
            opened = timeout_at(due, begin(accepted)) => opened.unwrap_or(Err("timed_out")),
        };
        self.results.add(opened.as_ref().err().unwrap_or(&"ok"));
        let (stream, peer) = opened.ok()?;
        Some(Open { stream, newcomer: Newcomer { peer, turn, due } })
    }
}

/// The stream of a connection, and who is at its other end.
async fn begin(accepted: Accepted) -> Result<(Stream, Peer), &'static str> {
    let nobody = Peer { name: None, other_names: Vec::new(), certificate: None, from: accepted.from() };
    match accepted {
        Accepted::Unix { stream, name, .. } => {
            let begun = read_preface(stream).await.map_err(|_| "failed")?;
            Ok((Stream::Unix(begun), Peer { name, ..nobody }))
        }
        Accepted::Tcp { stream, transport: Transport::Plain(everybody), .. } => {
            let begun = read_preface(stream).await.map_err(|_| "failed")?;
            Ok((Stream::Plain(begun), Peer { name: everybody, ..nobody }))
        }
        Accepted::Tcp { stream, address, transport: Transport::Tls(tls) } => {
            let (stream, client) = shake_hands(stream, address, &tls).await?;
            let peer = match &client {
                None => nobody,
                Some(client) => {
                    let Verified { name, other_names, .. } = client.verified.clone();
                    let certificate = client.fingerprint();
                    Peer { name: Some(name), other_names, certificate, ..nobody }
                }
            };
            Ok((Stream::Tls { stream: Box::new(stream), tls, client }, peer))
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    address: IpAddr,
    tls: &Tls,
) -> Result<(TlsStream<TcpStream>, Option<Client>), &'static str> {
    tls.accept(stream, address).await.map_err(|error| {
        tracing::debug!(%address, %error, "a TLS handshake failed");
        match error {
            HandshakeError::Refused(_) => "refused",
            HandshakeError::NoIdentity => "no_certificate",
            HandshakeError::NoHttp2 => "no_http2",
            HandshakeError::Failed(_) => "failed",
        }
    })
}

/// Reads the preface, or as much as shows that there is none.
async fn read_preface<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<Prefixed<S>> {
    let mut beginning = BytesMut::with_capacity(1_024);
    while beginning.len() < PREFACE.len() && PREFACE.starts_with(&beginning) {
        if stream.read_buf(&mut beginning).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Prefixed::new(beginning, stream))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn what_was_read_to_see_how_it_begins_is_read_again() {
        for sent in [&[PREFACE, b"and more"].concat()[..], b"GET / HTTP/1.1\r\n\r\n"] {
            let (mut client, server) = duplex(4_096);
            client.write_all(sent).await.unwrap();
            let mut begun = read_preface(server).await.unwrap();
            drop(client);
            let mut read = Vec::new();
            begun.read_to_end(&mut read).await.unwrap();
            assert_eq!(read, sent);
        }
        let (client, server) = duplex(64);
        drop(client);
        assert!(read_preface(server).await.is_err());
    }
}
