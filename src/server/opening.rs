//! How a connection begins: the TLS handshake, or the preface of HTTP/2 where there is no TLS.
//! A client that is silent holds a place for handshakes, never one for connections.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::server::TlsStream;

use super::Transport;
use crate::{
    auth::peer::Peer,
    listen::crowd::{Crowd, Entry},
    telemetry::{Counts, Metrics},
    tls::{
        begun::Begun,
        server::{Client, HandshakeError},
        trust::Verified,
    },
};

/// Handshakes of one address at the same time.
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
const RESULTS: [&str; 6] = ["ok", "refused", "no_http2", "failed", "timed_out", "displaced"];

/// What connections need to begin, for all of them.
#[derive(Clone)]
pub(super) struct Opening {
    pub(super) transport: Transport,
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
    Plain(Begun<TcpStream>),
    Tls(Box<TlsStream<TcpStream>>, Option<Client>),
}

impl Opening {
    pub(super) fn new(transport: Transport, handshakes: usize, metrics: &Metrics) -> Self {
        Self {
            transport,
            handshakes: Crowd::new(handshakes, OF_ADDRESS).settling_for(SETTLING),
            results: Arc::new(metrics.handshakes(&RESULTS)),
        }
    }

    /// The turn of a connection from there.
    pub(super) async fn turn(&self, from: SocketAddr) -> Entry {
        self.handshakes.enter(from.ip()).await
    }

    /// Brings a connection to its beginning; none where it comes to nothing.
    pub(super) async fn open(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        turn: Entry,
    ) -> Option<Open> {
        let due = Instant::now() + TIMEOUT;
        let opened = async {
            let stream = self.begin(stream, from.ip()).await?;
            let peer = self.peer(&stream, from.ip());
            Ok((stream, peer))
        };
        let opened = tokio::select! {
            biased;
            () = turn.gives_way() => Err("displaced"),
            opened = timeout_at(due, opened) => opened.unwrap_or(Err("timed_out")),
        };
        self.results.add(opened.as_ref().err().unwrap_or(&"ok"));
        let (stream, peer) = opened.ok()?;
        Some(Open { stream, newcomer: Newcomer { peer, turn, due } })
    }

    async fn begin(&self, stream: TcpStream, from: IpAddr) -> Result<Stream, &'static str> {
        match &self.transport {
            Transport::Plain(_) => {
                let begun = read_preface(stream).await.map_err(|_| "failed")?;
                Ok(Stream::Plain(begun))
            }
            Transport::Tls(tls) => {
                let accepted = tls.accept(stream, from).await;
                let (stream, client) = accepted.map_err(|error| {
                    tracing::debug!(address = %from, %error, "a TLS handshake failed");
                    match error {
                        HandshakeError::Refused(_) => "refused",
                        HandshakeError::NoHttp2 => "no_http2",
                        HandshakeError::Failed(_) => "failed",
                    }
                })?;
                Ok(Stream::Tls(Box::new(stream), client))
            }
        }
    }

    /// Who is at the other end.
    fn peer(&self, stream: &Stream, address: IpAddr) -> Peer {
        let nobody = Peer { name: None, also: Vec::new(), certificate: None, address };
        match (stream, &self.transport) {
            (Stream::Plain(_), Transport::Plain(everybody)) => {
                Peer { name: everybody.clone(), ..nobody }
            }
            (Stream::Tls(_, Some(client)), _) => {
                let Verified { name, also, .. } = client.verified.clone();
                let certificate = client.fingerprint();
                Peer { name: Some(name), also, certificate, ..nobody }
            }
            _ => nobody,
        }
    }
}

/// Reads the preface, or as much as shows that there is none.
async fn read_preface<S: AsyncRead + Unpin>(mut stream: S) -> io::Result<Begun<S>> {
    let mut beginning = BytesMut::with_capacity(1_024);
    while beginning.len() < PREFACE.len() && PREFACE.starts_with(&beginning) {
        if stream.read_buf(&mut beginning).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Begun::new(beginning, stream))
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
