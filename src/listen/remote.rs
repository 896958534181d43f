//! The remote end of a connection.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// The remote end of a connection, as far as the peer cannot choose it freely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remote {
    /// The IP address of a TCP connection.
    Ip(IpAddr),
    /// The user ID of the peer process on a Unix socket.
    Unix(u32),
}

impl Remote {
    /// The unit by which unauthenticated peers are counted: an IPv4 address, the /64 network of an
    /// IPv6 address (a host can use any address in it), or a user.
    #[must_use]
    pub fn network(self) -> Self {
        match self {
            Self::Ip(address) => Self::Ip(match address.to_canonical() {
                IpAddr::V6(address) => {
                    Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
                }
                v4 @ IpAddr::V4(_) => v4,
            }),
            Self::Unix(_) => self,
        }
    }
}

impl From<IpAddr> for Remote {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address)
    }
}

/// The form in log lines.
impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.to_canonical().fmt(f),
            Self::Unix(uid) => write!(f, "uid:{uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_addresses_are_grouped_by_network() {
        let of = |text: &str| Remote::Ip(text.parse().unwrap()).network();
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn users_are_counted_separately() {
        assert_ne!(Remote::Unix(1).network(), Remote::Unix(2).network());
        assert_eq!(Remote::Unix(1_001).to_string(), "uid:1001");
        assert_eq!(Remote::Ip("::ffff:10.0.0.1".parse().unwrap()).to_string(), "10.0.0.1");
    }
}
