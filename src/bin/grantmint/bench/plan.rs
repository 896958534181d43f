//! The shape of a load.

use std::time::Duration;

/// The shape of a load.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) connections: u32,
    /// Per connection.
    pub(super) in_flight: u32,
    /// Calls a second; none for a closed loop.
    pub(super) rate: Option<u32>,
    pub(super) warm_up: Duration,
    pub(super) duration: Duration,
    /// The deadline of each call.
    pub(super) timeout: Duration,
}
