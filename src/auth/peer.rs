//! The other end of a connection.

use std::net::{IpAddr, Ipv6Addr};

use super::name::CallerName;

/// The other end of a connection: made once, when the connection is, and carried by each of
/// its calls. What a caller may do is never kept with it, since that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is, where that is known; of a certificate with several DNS names, the first.
    pub name: Option<CallerName>,
    /// The other DNS names of its certificate, in their order.
    pub also: Vec<CallerName>,
    /// Where it comes from.
    pub address: IpAddr,
}

impl Peer {
    /// All names that it may go by, the first before the others.
    pub fn names(&self) -> impl Iterator<Item = &CallerName> {
        self.name.iter().chain(&self.also)
    }
}

/// Who is taken for one when strangers are counted: an IPv4 address, or the network of 64 bits
/// that an IPv6 host may take any address of.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_ipv6_is_one_stranger() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
