//! Where a connection comes from.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// Where a connection comes from: what its peer cannot choose freely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remote {
    /// The IP address of a TCP connection.
    Ip(IpAddr),
    /// The user id of the process at the other end of a Unix socket.
    Unix(u32),
}

impl Remote {
    /// Who is taken for one when strangers are counted: an IPv4 address, the network of 64 bits
    /// that an IPv6 host may take any address of, or a user.
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

/// As log lines have it.
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
    fn a_network_of_ipv6_is_one_stranger() {
        let of = |text: &str| Remote::Ip(text.parse().unwrap()).network();
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[test]
    fn each_user_is_a_stranger_of_their_own() {
        assert_ne!(Remote::Unix(1).network(), Remote::Unix(2).network());
        assert_eq!(Remote::Unix(1_001).to_string(), "uid:1001");
        assert_eq!(Remote::Ip("::ffff:10.0.0.1".parse().unwrap()).to_string(), "10.0.0.1");
    }
}
