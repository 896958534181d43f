//! Limits on connections.

use std::time::Duration;

/// Limits on connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Concurrent connections, if there are enough file descriptors.
    pub connections: usize,
    /// Concurrent connections per caller.
    pub connections_per_caller: usize,
    /// Concurrent calls per connection.
    pub streams_per_connection: u32,
    /// Concurrent connections that have not completed their handshake.
    pub handshakes: usize,
    /// How long a client may leave a response unread.
    pub stall: Duration,
    /// The maximum connection age, reduced at random by up to a tenth.
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
