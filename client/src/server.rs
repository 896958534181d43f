//! The address of a server.

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use http::Uri;

/// The prefix of a Unix socket's address.
const UNIX: &str = "unix:";

/// The address of a server: `https://host:port`, `http://host:port`, `host:port` (as `http`) or
/// `unix:/path/of/the.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    transport: Transport,
    /// As it is printed.
    url: String,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Over TLS.
    Tls(Uri),
    /// In plain text.
    Plaintext(Uri),
    /// Through a Unix socket.
    Unix(PathBuf),
}

/// A string that is not a server's address. The error does not repeat the string: it may hold a
/// password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// It is not a URL.
    #[error("is not a server URL; expected the form http://127.0.0.1:50051 or 127.0.0.1:50051")]
    Malformed,
    /// It has no port.
    #[error("has no port; expected host:port, such as localhost:50051")]
    NoPort,
    /// It has no host.
    #[error("has no host; expected host:port, such as localhost:50051")]
    NoHost,
    /// Its port is not a number from 1 to 65535.
    #[error("needs a port from 1 to 65535, such as localhost:50051")]
    BadPort,
    /// Its host is an IPv6 address without brackets.
    #[error("is an IPv6 address without brackets; expected the form [::1]:50051")]
    NoBrackets,
    /// Its scheme is not supported.
    #[error(
        "has an unsupported scheme; expected https://host:port, http:// on loopback, or \
         unix:/path/of/the.sock"
    )]
    Scheme,
    /// It has no path of a socket.
    #[error("has no socket path; expected the form unix:/run/grantmint/api.sock")]
    NoSocket,
    /// It has a host before the path of a socket.
    #[error("must not have a host before the socket path; expected unix:/run/grantmint/api.sock")]
    SocketHost,
    /// It has a user name or a password.
    #[error("must not contain a user name or password")]
    Credential,
    /// It has a path, a query or a fragment.
    #[error("must not have a path, query or fragment; expected https://host:port")]
    NotOnlyHost,
}

impl Server {
    /// The path of its Unix socket, where it is one.
    #[must_use]
    pub fn socket(&self) -> Option<&Path> {
        match &self.transport {
            Transport::Unix(path) => Some(path),
            _ => None,
        }
    }

    /// Its URL as `http` knows it; `None` for a Unix socket.
    #[must_use]
    pub fn uri(&self) -> Option<&Uri> {
        match &self.transport {
            Transport::Tls(uri) | Transport::Plaintext(uri) => Some(uri),
            Transport::Unix(_) => None,
        }
    }

    /// Whether it is reached over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.transport, Transport::Tls(_))
    }

    /// Whether what is sent to it stays on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.uri().is_none_or(|uri| {
            let host = bare_host(uri);
            let address: Result<IpAddr, _> = host.parse();
            host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it| it.is_loopback())
        })
    }

    /// The host that its certificate must name; empty for a Unix socket.
    #[must_use]
    pub fn host(&self) -> &str {
        self.uri().map_or("", bare_host)
    }

    /// Its URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.url
    }

    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }
}

/// The host of a URL without the brackets of an IPv6 address.
pub(crate) fn bare_host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
}

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        let text = without_resolver(text.trim());
        if let Some(path) = text.strip_prefix(UNIX) {
            let path = socket_path(path)?;
            return Ok(Self {
                transport: Transport::Unix(path.into()),
                url: format!("{UNIX}{path}"),
            });
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "" | "http" => false,
            "https" => true,
            _ => return Err(ServerError::Scheme),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        check_authority(authority, scheme.is_empty())?;
        let url = format!("{}://{authority}", if is_tls { "https" } else { "http" });
        let uri: Uri = url.parse().map_err(|_| ServerError::Malformed)?;
        uri.host().filter(|host| !host.is_empty()).ok_or(ServerError::Malformed)?;
        let transport = if is_tls { Transport::Tls(uri) } else { Transport::Plaintext(uri) };
        Ok(Self { transport, url })
    }
}

/// Accepts `path`, `/path` and `///path`, as gRPC libraries do.
fn socket_path(path: &str) -> Result<&str, ServerError> {
    let path = match path.strip_prefix("//") {
        Some(rest) if !rest.starts_with('/') => return Err(ServerError::SocketHost),
        Some(rest) => rest,
        None => path,
    };
    match path {
        "" => Err(ServerError::NoSocket),
        path if path.starts_with("//") => Err(ServerError::SocketHost),
        path => Ok(path),
    }
}

/// A port may be left out only after a scheme, which has a default.
fn check_authority(authority: &str, needs_port: bool) -> Result<(), ServerError> {
    if authority.contains('@') {
        return Err(ServerError::Credential);
    }
    if authority.contains(['/', '?', '#']) {
        return Err(ServerError::NotOnlyHost);
    }
    if authority.matches(':').count() > 1 && !authority.starts_with('[') {
        return Err(ServerError::NoBrackets);
    }
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            if !is_number(port) || port.parse::<u16>().unwrap_or_default() == 0 {
                return Err(ServerError::BadPort);
            }
            if host.is_empty() { Err(ServerError::NoHost) } else { Ok(()) }
        }
        _ if authority.is_empty() => Err(ServerError::Malformed),
        _ if is_number(authority) => Err(ServerError::NoHost),
        _ if needs_port => Err(ServerError::NoPort),
        _ => Ok(()),
    }
}

/// A target without the resolver that gRPC clients write before it: names are resolved anyway.
fn without_resolver(text: &str) -> &str {
    let resolvers = ["dns:///", "passthrough:///", "dns:", "ipv4:", "ipv6:"];
    let rests = resolvers.iter().filter_map(|resolver| text.strip_prefix(resolver));
    // A host may have the name of a resolver.
    rests.into_iter().find(|rest| rest.contains(':')).unwrap_or(text)
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_people_and_of_other_clients_are_accepted() {
        for (text, url) in [
            ("localhost:50051", "http://localhost:50051"),
            ("127.0.0.1:1", "http://127.0.0.1:1"),
            ("[::1]:50051", "http://[::1]:50051"),
            ("HTTP://mint:50051/", "http://mint:50051"),
            ("dns:///mint:50051", "http://mint:50051"),
            (" http://mint ", "http://mint"),
            ("HTTPS://mint:50051/", "https://mint:50051"),
            ("https://mint", "https://mint"),
            ("dns:mint:50051", "http://mint:50051"),
            ("ipv6:[::1]:50051", "http://[::1]:50051"),
            ("dns:50051", "http://dns:50051"),
            ("unix:/run/api.sock", "unix:/run/api.sock"),
            ("unix:///run/api.sock", "unix:/run/api.sock"),
            ("unix:api.sock", "unix:api.sock"),
        ] {
            let parsed = text.parse::<Server>().map(|server| server.to_string());
            assert_eq!(parsed.as_deref(), Ok(url), "{text}");
        }
    }

    #[test]
    fn bad_addresses_are_refused_without_repeating_them() {
        let password = "q1W2e3R4";
        for (text, error) in [
            ("http://host:1/foo", ServerError::NotOnlyHost),
            ("http://host:1?x=1", ServerError::NotOnlyHost),
            ("host:1#x", ServerError::NotOnlyHost),
            ("http://user:q1W2e3R4@host:1", ServerError::Credential),
            ("grpc://host:1", ServerError::Scheme),
            ("localhost", ServerError::NoPort),
            ("[::1]", ServerError::NoPort),
            (":50051", ServerError::NoHost),
            ("50051", ServerError::NoHost),
            ("::1", ServerError::NoBrackets),
            ("::1:50051", ServerError::NoBrackets),
            ("unix:", ServerError::NoSocket),
            ("unix://", ServerError::SocketHost),
            ("unix://host/run/api.sock", ServerError::SocketHost),
            ("unix:////host/run/api.sock", ServerError::SocketHost),
            ("host:port", ServerError::BadPort),
            ("host:65536", ServerError::BadPort),
            ("host:+80", ServerError::BadPort),
            ("host:0", ServerError::BadPort),
            ("http://", ServerError::Malformed),
            ("a b:1", ServerError::Malformed),
            ("", ServerError::Malformed),
        ] {
            let refused = text.parse::<Server>().unwrap_err();
            assert_eq!(refused, error, "{text}");
            assert!(!refused.to_string().contains(password), "{refused}");
        }
    }

    #[test]
    fn only_loopback_and_sockets_are_local() {
        let is_local = |text: &str| text.parse::<Server>().unwrap().is_local();
        assert!(is_local("localhost:1") && is_local("[::1]:1") && is_local("unix:/a"));
        assert!(!is_local("mint:1") && !is_local("10.0.0.1:1"));
    }
}
