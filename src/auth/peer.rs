//! The other end of a connection.

use super::name::CallerName;
use crate::listen::remote::Remote;

/// The other end of a connection: made once, when the connection is, and carried by each of
/// its calls. What a caller may do is never kept with it, since that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is, where that is known; of a certificate with several DNS names, the first.
    pub name: Option<CallerName>,
    /// The other DNS names of its certificate, in their order.
    pub also: Vec<CallerName>,
    /// Where it comes from.
    pub from: Remote,
}

impl Peer {
    /// All names that it may go by, the first before the others.
    pub fn names(&self) -> impl Iterator<Item = &CallerName> {
        self.name.iter().chain(&self.also)
    }
}
