//! One of a server's listeners: where connections come in, what they are made over, and how it
//! is known who makes them.

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

/// A pause where accepting fails because file descriptors or memory run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound listener.
pub(super) enum Listener {
    /// TCP, where the transport says who comes.
    Tcp(Listeners, Transport),
    /// A Unix socket, where the kernel says who comes.
    Unix {
        socket: unix::Listener,
        /// The user id that stands for those that the kernel cannot name.
        overflow_uid: u32,
    },
}

/// A connection on which nothing was said yet.
pub(super) enum Accepted {
    Tcp { stream: TcpStream, address: IpAddr, transport: Transport },
    Unix { stream: UnixStream, uid: u32, name: Option<CallerName> },
}

impl Listener {
    /// Listens on TCP; comes with the address, or one of two.
    pub(super) async fn tcp(
        listen: Listen,
        transport: Transport,
    ) -> io::Result<(Self, SocketAddr)> {
        let sockets = Listeners::bind(listen).await?;
        let addr = sockets.addr()?;
        Ok((Self::Tcp(sockets, transport), addr))
    }

    /// Listens on a Unix socket.
    pub(super) fn unix(unix: &Unix) -> Result<Self, UnixError> {
        let socket = unix.bind()?.listen()?;
        Ok(Self::Unix { socket, overflow_uid: overflow_uid() })
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> Accepted {
        let mut failures = 0_u64;
        loop {
            match self.try_accept().await {
                Ok(accepted) => {
                    if failures > 0 {
                        tracing::info!(failures, "connections are accepted again");
                    }
                    return accepted;
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

    async fn try_accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(sockets, transport) => {
                let (stream, from) = sockets.accept().await?;
                // Answers are small: waiting to fill a packet only costs time.
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
    /// Where it comes from.
    pub(super) const fn from(&self) -> Remote {
        match self {
            Self::Tcp { address, .. } => Remote::Ip(*address),
            Self::Unix { uid, .. } => Remote::Unix(*uid),
        }
    }
}
