//! Who calls: the name of a caller, and the peer of a connection.

pub mod name;
pub mod peer;
