//! Listen addresses, and the sockets bound to them.

pub mod addresses;
pub mod connection_limit;
pub mod log_limit;
pub mod remote;
pub mod unix;

use std::{
    fmt,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use tokio::net::{TcpListener, TcpStream};

/// An address to listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An IP address and port.
    At(SocketAddr),
    /// `localhost`: loopback of each IP family that the machine has.
    Localhost(u16),
}

/// Why a string is not a listen address, with a suggested replacement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// A URL.
    #[error("is a URL: write only the address and port, such as 127.0.0.1:50051")]
    Url,
    /// An empty string.
    #[error("is empty: write an address and a port, such as 127.0.0.1:50051")]
    Empty,
    /// An IPv6 address without brackets, or another address with them.
    #[error("has missing or misplaced brackets: write {0}")]
    Brackets(SocketAddr),
    /// An IPv6 address without brackets, whose last group may be a port.
    #[error("is an IPv6 address without brackets: write {0}, or [{1}]:50051")]
    PortOrGroup(SocketAddr, Ipv6Addr),
    /// An IPv6 address with an interface name.
    #[error("names an interface: write its number after the %")]
    Zone,
    /// A port without an address.
    #[error("has no address: write 127.0.0.1:{0} or localhost:{0}")]
    PortAlone(u16),
    /// An address without a port.
    #[error("has no port: write {0}:50051, or {0}:0 for any free port")]
    NoPort(String),
    /// An invalid port.
    #[error("has no port from 0 to 65535 after its last colon, such as 127.0.0.1:50051")]
    BadPort,
    /// A host name.
    #[error(
        "names a host: write an IP address or localhost, such as 127.0.0.1:50051 or [::1]:50051"
    )]
    Host,
}

impl Listen {
    /// Whether only this machine can reach the address.
    #[must_use]
    pub const fn is_loopback(self) -> bool {
        match self {
            Self::At(address) => address.ip().is_loopback(),
            Self::Localhost(_) => true,
        }
    }
}

impl Listen {
    /// Whether binding both would bind the same address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let one = |listen: Self| match listen {
            Self::At(address) => vec![address],
            Self::Localhost(port) => {
                vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]
            }
        };
        let others = one(other);
        one(self).iter().any(|address| address.port() != 0 && others.contains(address))
    }
}

impl From<SocketAddr> for Listen {
    fn from(address: SocketAddr) -> Self {
        Self::At(address)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Localhost(port) => write!(f, "localhost:{port}"),
        }
    }
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let text = text.trim();
        if let Ok(address) = text.parse() {
            return Ok(Self::At(address));
        }
        if text.is_empty() {
            return Err(ListenError::Empty);
        }
        if text.contains("://") {
            return Err(ListenError::Url);
        }
        if text.contains('%') {
            return Err(ListenError::Zone);
        }
        if let Some(port) = port(text) {
            return Err(ListenError::PortAlone(port));
        }
        let split = text.rsplit_once(':').map(|(host, rest)| (host, port(rest)));
        match (address(text), split) {
            (Some(IpAddr::V6(whole)), Some((host, Some(port)))) => Err(match address(host) {
                Some(host) => ListenError::PortOrGroup((host, port).into(), whole),
                None => ListenError::NoPort(format!("[{whole}]")),
            }),
            (Some(IpAddr::V6(whole)), _) => Err(ListenError::NoPort(format!("[{whole}]"))),
            (Some(IpAddr::V4(whole)), _) => Err(ListenError::NoPort(whole.to_string())),
            (None, None) if text == "*" => Err(ListenError::NoPort("0.0.0.0".to_owned())),
            (None, None) if text.eq_ignore_ascii_case("localhost") => {
                Err(ListenError::NoPort(text.to_owned()))
            }
            (None, None) => Err(ListenError::Host),
            (None, Some((_, None))) => Err(ListenError::BadPort),
            (None, Some(("" | "*", Some(port)))) => Err(ListenError::PortAlone(port)),
            (None, Some((host, Some(port)))) if host.eq_ignore_ascii_case("localhost") => {
                Ok(Self::Localhost(port))
            }
            (None, Some((host, Some(port)))) => Err(address(host)
                .map_or(ListenError::Host, |host| ListenError::Brackets((host, port).into()))),
        }
    }
}

fn port(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Parses an IP address with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    text.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// The bound sockets of a listen address.
#[derive(Debug)]
pub struct Listeners {
    first: TcpListener,
    /// For `localhost`, the socket of the other IP family.
    second: Option<TcpListener>,
}

impl Listeners {
    /// Binds `listen`. Both families of `localhost` share one port.
    pub async fn bind(listen: Listen) -> io::Result<Self> {
        match listen {
            Listen::At(address) => {
                Ok(Self { first: TcpListener::bind(address).await?, second: None })
            }
            Listen::Localhost(port) => Self::bind_localhost(port).await,
        }
    }

    async fn bind_localhost(port: u16) -> io::Result<Self> {
        // A port that is free in one family may be in use in the other.
        let mut tries = if port == 0 { 16 } else { 1 };
        loop {
            tries -= 1;
            let first = match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
                Err(error) if is_missing(&error) => {
                    let first = TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await?;
                    return Ok(Self { first, second: None });
                }
                first => first?,
            };
            let port = first.local_addr()?.port();
            match TcpListener::bind((Ipv6Addr::LOCALHOST, port)).await {
                Ok(second) => return Ok(Self { first, second: Some(second) }),
                Err(error) if is_missing(&error) => return Ok(Self { first, second: None }),
                Err(error) if error.kind() == ErrorKind::AddrInUse && tries > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The bound address; for `localhost`, one of the two.
    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.first.local_addr()
    }

    /// Accepts a connection and returns the peer's address. Cancel safe.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        match &self.second {
            None => self.first.accept().await,
            Some(second) => tokio::select! {
                accepted = self.first.accept() => accepted,
                accepted = second.accept() => accepted,
            },
        }
    }
}

/// Whether the machine lacks this address or its IP family.
fn is_missing(error: &io::Error) -> bool {
    error.kind() == ErrorKind::AddrNotAvailable
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_are_parsed() {
        for (text, expected) in [
            ("127.0.0.1:50051", "127.0.0.1:50051"),
            (" 127.0.0.1:0\n", "127.0.0.1:0"),
            ("[::1]:50051", "[::1]:50051"),
            ("localhost:50051", "localhost:50051"),
            ("LocalHost:0", "localhost:0"),
        ] {
            assert_eq!(text.parse::<Listen>().map(|it| it.to_string()).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn errors_suggest_a_listen_address() {
        for (text, suggestion) in [
            (":50051", "127.0.0.1:50051 or localhost:50051"),
            ("9000", "127.0.0.1:9000 or localhost:9000"),
            ("localhost", "localhost:50051"),
            ("127.0.0.1", "127.0.0.1:50051"),
            ("::1", "[::1]:50051"),
            ("[::1]", "[::1]:50051"),
            ("[::1", "[::1]:50051"),
            ("::1:5005", "[::1]:5005, or [::1:5005]:50051"),
            ("2001:db8:0:0:0:0:0:1:80", "[2001:db8::1]:80"),
            ("[127.0.0.1]:5", "127.0.0.1:5"),
            ("[fe80::1%eth0]:5", "its number"),
            ("*", "0.0.0.0:50051"),
            ("localhost:+80", "no port from 0 to 65535"),
            ("http://127.0.0.1:50051", "only the address and port"),
            ("*:50051", "127.0.0.1:50051 or localhost:50051"),
            ("api.example:50051", "an IP address or localhost"),
            ("localhost:grpc", "no port from 0 to 65535"),
            ("127.0.0.1:65536", "no port from 0 to 65535"),
            ("", "is empty"),
        ] {
            let error = text.parse::<Listen>().expect_err(text).to_string();
            assert!(error.contains(suggestion), "{text}: {error}");
        }
    }

    #[test]
    fn addresses_that_share_a_port_overlap() {
        let overlap = |one: &str, other: &str| {
            one.parse::<Listen>().unwrap().overlaps(other.parse().unwrap())
        };
        assert!(overlap("127.0.0.1:1", "127.0.0.1:1"));
        assert!(overlap("localhost:1", "[::1]:1") && overlap("127.0.0.1:1", "localhost:1"));
        assert!(!overlap("localhost:1", "localhost:2") && !overlap("127.0.0.1:1", "[::1]:1"));
        assert!(!overlap("localhost:0", "localhost:0"));
    }

    #[tokio::test]
    async fn localhost_binds_both_families_on_one_port() {
        let listeners = Listeners::bind(Listen::Localhost(0)).await.unwrap();
        let port = listeners.addr().unwrap().port();
        assert!(listeners.addr().unwrap().ip().is_loopback());
        // The machine may have only one family.
        let peers = [(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()];
        let mut reached = 0;
        for peer in peers.into_iter().take(1 + usize::from(listeners.second.is_some())) {
            let peer: SocketAddr = peer;
            let (peer, accepted) = tokio::join!(TcpStream::connect(peer), listeners.accept());
            assert_eq!(peer.unwrap().local_addr().unwrap(), accepted.unwrap().1);
            reached += 1;
        }
        assert!(reached > 0);
    }
}
