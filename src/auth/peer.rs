//! The other end of a connection.

use std::net::IpAddr;

use super::name::CallerName;

/// The other end of a connection: made once, when the connection is, and carried by each of
/// its calls. What a caller may do is never kept with it, since that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is, where that is known.
    pub name: Option<CallerName>,
    /// Where it comes from.
    pub address: IpAddr,
}
