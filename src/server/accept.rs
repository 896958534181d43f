//! The next connection.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpStream, time::sleep};

use crate::listen::Listeners;

/// A pause where accepting fails for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The next connection.
pub(super) async fn accept(listeners: &Listeners) -> (TcpStream, SocketAddr) {
    let mut failures = 0_u64;
    loop {
        match listeners.accept().await {
            Ok((stream, from)) => {
                if failures > 0 {
                    tracing::info!(failures, "connections are accepted again");
                }
                // Answers are small: waiting to fill a packet only costs time.
                let _ = stream.set_nodelay(true);
                return (stream, from);
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
