//! The server's listeners, which accept connections and identify peers by the transport.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpStream, UnixStream},
    time::sleep,
};

use super::Transport;
use crate::{
    auth::name::{CallerName, Uid},
    listen::{
        Listen, Listeners,
        remote::Remote,
        unix::{self, Unix, UnixError, overflow_uid},
    },
};

/// The pause after a failed accept, which usually means that file descriptors or memory are
/// exhausted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound listener.
pub(super) enum Listener {
    /// TCP, where the transport identifies the peer.
    Tcp(Listeners, Transport),
    /// A Unix socket, where the kernel identifies the peer.
    Unix {
        socket: unix::Listener,
        /// The user ID that the kernel reports for users it cannot map.
        overflow_uid: u32,
    },
}

/// An accepted connection before any handshake.
pub(super) enum Accepted {
    Tcp { stream: TcpStream, address: IpAddr, transport: Transport },
    Unix { stream: UnixStream, uid: u32, name: Option<CallerName> },
}

impl Listener {
    /// Binds a TCP address and returns the bound address; for `localhost`, one of the two.
    pub(super) async fn tcp(
        listen: Listen,
        transport: Transport,
    ) -> io::Result<(Self, SocketAddr)> {
        let sockets = Listeners::bind(listen).await?;
        let addr = sockets.addr()?;
        Ok((Self::Tcp(sockets, transport), addr))
    }

    /// Binds a Unix socket.
    pub(super) fn unix(unix: &Unix) -> Result<Self, UnixError> {
        let socket = unix.bind()?.listen()?;
        Ok(Self::Unix { socket, overflow_uid: overflow_uid() })
    }

    /// Accepts the next connection.
    pub(super) async fn accept(&self) -> Accepted {
        let mut failures = 0_u64;
        loop {
            match self.try_accept().await {
                Ok(accepted) => {
                    if failures > 0 {
                        tracing::info!(failures, "accepting connections recovered");
                    }
                    return accepted;
                }
                // The peer is already gone, or descriptors or memory are exhausted. The pause
                // avoids a busy loop.
                Err(error) => {
                    if failures == 0 {
                        tracing::warn!(%error, "accepting connections failed; retrying");
                    }
                    failures += 1;
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(sockets, transport) => {
                let (stream, from) = sockets.accept().await?;
                // Responses are small, so that waiting to fill a packet only adds latency.
                let _ = stream.set_nodelay(true);
                Ok(Accepted::Tcp { stream, address: from.ip(), transport: transport.clone() })
            }
            Self::Unix { socket, overflow_uid } => {
                let (stream, uid) = socket.accept().await?;
                let name = Uid::of_peer(uid, *overflow_uid).map(CallerName::Uid);
                Ok(Accepted::Unix { stream, uid, name })
            }
        }
    }
}

impl Accepted {
    /// The remote end.
    pub(super) const fn from(&self) -> Remote {
        match self {
            Self::Tcp { address, .. } => Remote::Ip(*address),
            Self::Unix { uid, .. } => Remote::Unix(*uid),
        }
    }
}
