//! The listen addresses of a server.

use std::fmt;

use super::{Listen, unix::Unix};

/// A server's listen addresses, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// TCP.
    Tcp(Listen),
    /// A Unix socket.
    Unix(Unix),
    /// TCP and a Unix socket.
    Both(Listen, Unix),
}

impl Addresses {
    /// The TCP address.
    #[must_use]
    pub const fn tcp(&self) -> Option<Listen> {
        match self {
            Self::Tcp(listen) | Self::Both(listen, _) => Some(*listen),
            Self::Unix(_) => None,
        }
    }

    /// The Unix socket.
    #[must_use]
    pub const fn unix(&self) -> Option<&Unix> {
        match self {
            Self::Unix(unix) | Self::Both(_, unix) => Some(unix),
            Self::Tcp(_) => None,
        }
    }

    /// Replaces the TCP address.
    #[must_use]
    pub fn with_tcp(self, listen: Listen) -> Self {
        match self {
            Self::Tcp(_) => Self::Tcp(listen),
            Self::Unix(unix) | Self::Both(_, unix) => Self::Both(listen, unix),
        }
    }
}

impl<T: Into<Listen>> From<T> for Addresses {
    fn from(listen: T) -> Self {
        Self::Tcp(listen.into())
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listen) => listen.fmt(f),
            Self::Unix(unix) => unix.fmt(f),
            Self::Both(listen, unix) => write!(f, "{listen} and {unix}"),
        }
    }
}
