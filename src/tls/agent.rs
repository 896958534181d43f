//! The agent of the Workload API: where it is, and which of its SVIDs is used.

use std::{fmt, net::SocketAddr};

use tonic::transport::{Endpoint, Error};

use crate::auth::name::SpiffeId;

/// The settings of the Workload API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its address.
    pub address: Address,
    /// The SVID to use. `None`: the current one while it is still sent, else the first.
    pub spiffe_id: Option<SpiffeId>,
}

/// The address of the Workload API in the standard's format
/// (<https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_Endpoint.md>, section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The absolute path of a Unix socket.
    Unix(String),
    /// A loopback address and port.
    Tcp(SocketAddr),
}

/// The environment variable that holds the address, by the same standard.
pub const VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";

impl Address {
    /// Parses `unix:/PATH`, `unix:///PATH` or `tcp://IP:PORT`.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(rest) = text.strip_prefix("unix:") {
            let path = rest.strip_prefix("//").unwrap_or(rest);
            let is_path = path.starts_with('/') && path.len() > 1 && !path.contains('\0');
            // A path with two leading slashes would be parsed as a host and a path.
            return if is_path && !path.starts_with("//") {
                Ok(Self::Unix(path.to_owned()))
            } else {
                Err("must have the absolute path of a socket: unix:/run/spire/agent.sock")
            };
        }
        let Some(port) = text.strip_prefix("tcp://") else {
            return Err("must be like unix:/run/spire/agent.sock or tcp://127.0.0.1:8081");
        };
        match port.parse::<SocketAddr>() {
            // The agent sends private keys unencrypted.
            Ok(address) if !address.ip().is_loopback() => Err("must be on this machine"),
            Ok(address) if address.port() != 0 => Ok(Self::Tcp(address)),
            _ => Err("must have an IP address and a port: tcp://127.0.0.1:8081"),
        }
    }

    pub(super) fn endpoint(&self) -> Result<Endpoint, Error> {
        match self {
            Self::Unix(_) => Endpoint::from_shared(self.to_string()),
            Self::Tcp(address) => Endpoint::from_shared(format!("http://{address}")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{path}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_a_unix_socket_or_a_loopback_port() {
        for (text, expected) in [
            ("unix:/run/spire/agent.sock", "unix:/run/spire/agent.sock"),
            ("unix:///run/spire/agent.sock", "unix:/run/spire/agent.sock"),
            ("tcp://127.0.0.1:8081", "tcp://127.0.0.1:8081"),
            ("tcp://[::1]:8081", "tcp://[::1]:8081"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), expected);
        }
        for text in [
            "",
            "/run/spire/agent.sock",
            "unix:",
            "unix:/",
            "unix:agent.sock",
            "unix://run/agent.sock",
            "unix:////run/agent.sock",
            "tcp://localhost:8081",
            "tcp://127.0.0.1",
            "tcp://127.0.0.1:0",
            "tcp://127.0.0.1:8081/x",
            "tcp://10.0.0.1:8081",
            "tcp:127.0.0.1:8081",
            "http://127.0.0.1:8081",
        ] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
