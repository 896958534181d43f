//! A proxy's address and credential, and the hosts that are exempt from it.

use std::{fmt, net::IpAddr};

use http::{HeaderValue, Uri, uri::Scheme};
use hyper_util::client::proxy::matcher::Matcher;

/// A profile's proxy setting.
#[derive(Clone, Debug, Default)]
pub enum ProxySetting {
    /// As the environment sets it.
    #[default]
    Environment,
    /// No proxy, whatever the environment sets.
    None,
    /// This proxy, whatever the environment sets.
    Own(Proxy),
}

/// An HTTP proxy for tunnels.
#[derive(Clone)]
pub struct Proxy {
    uri: Uri,
    authorization: Option<HeaderValue>,
}

/// Why a string is no proxy. It never holds the string, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Not a URL of a host and a port.
    #[error(
        "is not of the form http://[user:password@]host:port; in a user name or password, \
         percent-encode reserved characters"
    )]
    NotAUrl,
    /// It is in quotes.
    #[error("is in quotes, which are part of the value: remove them")]
    Quoted,
    /// SOCKS.
    #[error("is a SOCKS proxy; only HTTP proxies are supported")]
    Socks,
    /// Another scheme.
    #[error("has an unknown scheme; only http:// and https:// are supported")]
    Scheme,
    /// A credential in the file.
    #[error(
        "must not hold a user name or password: secrets are never values in this file. Remove \
         the key and set HTTPS_PROXY in the environment"
    )]
    Credential,
    /// The upstream needs no proxy.
    #[error("is not used: the upstream is plain http on this machine and is reached directly")]
    PlainHttp,
}

impl ProxySetting {
    /// Parses a profile's value.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        match text {
            "environment" => Ok(Self::Environment),
            "none" => Ok(Self::None),
            _ => {
                let proxy = Proxy::parse(text)?;
                match proxy.authorization {
                    Some(_) => Err(ProxyError::Credential),
                    None => Ok(Self::Own(proxy)),
                }
            }
        }
    }

    /// Refuses the profile's own proxy if `upstream` does not use one.
    pub fn check(&self, upstream: &Uri) -> Result<(), ProxyError> {
        match self {
            Self::Own(_) if upstream.scheme() != Some(&Scheme::HTTPS) => Err(ProxyError::PlainHttp),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for ProxySetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("environment"),
            Self::None => f.write_str("none"),
            Self::Own(proxy) => proxy.fmt(f),
        }
    }
}

impl Proxy {
    /// Parses a URL; without a scheme it is http.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let text = text.trim();
        if text.starts_with(['"', '\'']) {
            return Err(ProxyError::Quoted);
        }
        let text = text.strip_suffix('/').unwrap_or(text);
        // Uri silently drops a fragment.
        if text.contains(['#', '?']) {
            return Err(ProxyError::NotAUrl);
        }
        let uri: Uri = text.parse().map_err(|_| ProxyError::NotAUrl)?;
        let scheme = uri.scheme_str().unwrap_or("http").to_ascii_lowercase();
        let default_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            scheme if scheme.starts_with("socks") => return Err(ProxyError::Socks),
            _ => return Err(ProxyError::Scheme),
        };
        let authority = uri.authority().ok_or(ProxyError::NotAUrl)?;
        let host = authority.host();
        let (credential, place) = match authority.as_str().split_once('@') {
            Some((credential, place)) => (Some(credential), place),
            None => (None, authority.as_str()),
        };
        let port = match place.strip_prefix(host) {
            Some("") => default_port,
            // Uri ignores a port that is not a number.
            Some(_) => authority.port_u16().ok_or(ProxyError::NotAUrl)?,
            None => return Err(ProxyError::NotAUrl),
        };
        if host.is_empty() || !matches!(uri.path(), "" | "/") {
            return Err(ProxyError::NotAUrl);
        }
        let address = format!("{scheme}://{}:{port}", host.to_ascii_lowercase());
        let uri = address.parse().map_err(|_| ProxyError::NotAUrl)?;
        let authorization = credential.and_then(|_| {
            let any = Uri::from_static("https://upstream.invalid");
            let named = Matcher::builder().https(text).build().intercept(&any);
            named.and_then(|named| named.basic_auth().cloned())
        });
        if credential.is_some() && authorization.is_none() {
            return Err(ProxyError::NotAUrl);
        }
        Ok(Self { uri, authorization })
    }

    /// Its URL.
    #[must_use]
    pub const fn uri(&self) -> &Uri {
        &self.uri
    }

    /// Whether connections to it use TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// The value of its `Proxy-Authorization` header, marked as sensitive.
    #[must_use]
    pub const fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.uri.to_string().trim_end_matches('/'))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

/// Whether this list exempts `upstream`. Entries are names, which include their subdomains,
/// addresses, networks, or `*` for everything; each may have a port.
pub(super) fn exempts(list: &str, upstream: &Uri) -> bool {
    let entries: Vec<&str> =
        entries(list).filter_map(|entry| without_port(entry, upstream)).collect();
    if entries.contains(&"*") {
        return true;
    }
    let any = Matcher::builder().https("http://proxy.invalid").no(entries.join(",")).build();
    any.intercept(upstream).is_none()
}

fn entries(list: &str) -> impl Iterator<Item = &str> {
    list.split([',', ' ', '\t', '\n']).filter(|entry| !entry.is_empty())
}

/// The position, from 1, of the first entry whose form exempts nothing.
pub(super) fn ineffective_entry(list: &str) -> Option<usize> {
    let is_network = |entry: &str| {
        entry.split_once('/').is_some_and(|(address, length)| {
            let most = match address.parse() {
                Ok(IpAddr::V4(_)) => 32,
                Ok(IpAddr::V6(_)) => 128,
                Err(_) => return false,
            };
            length.parse::<u8>().is_ok_and(|length| length <= most)
        })
    };
    let is_ineffective = |entry: &str| {
        (entry.contains('/') && !is_network(entry))
            || entry.contains(['"', '\'', ';', '@'])
            || (entry != "*" && entry.strip_prefix("*.").unwrap_or(entry).contains('*'))
    };
    entries(list).position(is_ineffective).map(|index| index + 1)
}

/// The entry in the matcher's syntax; none if it is for another port.
fn without_port<'a>(entry: &'a str, upstream: &Uri) -> Option<&'a str> {
    let entry = match entry.rsplit_once(':') {
        // Several colons are an IPv6 address, which has a port only after brackets.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            let port: u16 = port.parse().ok()?;
            (port == upstream.port_u16().unwrap_or(443)).then_some(host)?
        }
        _ => entry,
    };
    let entry = entry.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(entry);
    // A leading dot means subdomains; `*.` means the same.
    Some(entry.strip_prefix("*").filter(|it| it.starts_with('.')).unwrap_or(entry))
}
