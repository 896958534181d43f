//! One of a server's listeners: where connections come in, and what they are made over.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{net::TcpStream, time::sleep};

use super::Transport;
use crate::listen::{Listen, Listeners, remote::Remote};

/// A pause where accepting fails for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound listener.
pub(super) struct Listener {
    sockets: Listeners,
    transport: Transport,
}

/// A connection on which nothing was said yet.
pub(super) struct Accepted {
    pub(super) stream: TcpStream,
    pub(super) address: IpAddr,
    pub(super) transport: Transport,
}

impl Listener {
    pub(super) async fn bind(listen: Listen, transport: Transport) -> io::Result<Self> {
        Ok(Self { sockets: Listeners::bind(listen).await?, transport })
    }

    /// The address, or one of two.
    pub(super) fn addr(&self) -> io::Result<SocketAddr> {
        self.sockets.addr()
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
        let (stream, from) = self.sockets.accept().await?;
        // Answers are small: waiting to fill a packet only costs time.
        let _ = stream.set_nodelay(true);
        Ok(Accepted { stream, address: from.ip(), transport: self.transport.clone() })
    }
}

impl Accepted {
    pub(super) fn from(&self) -> Remote {
        self.address.into()
    }
}
