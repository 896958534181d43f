//! What callers together and each connection may use of the server.

use std::time::Duration;

/// Limits on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time, where there are file descriptors for that many.
    pub connections: usize,
    /// Connections of one caller at a time.
    pub connections_per_caller: usize,
    /// Calls at a time on one connection.
    pub streams_per_connection: u32,
    /// Connections at a time that have not finished their handshake.
    pub handshakes: usize,
    /// How long a client may leave an answer unread.
    pub stall: Duration,
    /// After this, less up to a tenth, a connection is told to go.
    pub connection_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            connections_per_caller: 256,
            streams_per_connection: 128,
            handshakes: 256,
            stall: Duration::from_secs(30),
            connection_age: Duration::from_secs(600),
        }
    }
}
