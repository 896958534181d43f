//! The base URL of an upstream, parsed into one normal form, so that different spellings of one
//! upstream compare equal.

use std::{fmt, net::IpAddr, str::FromStr};

use http::Uri;

/// An upstream's base URL: https anywhere, plain http on loopback only. Its text has a lower-case
/// host, no default port and no trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    text: String,
    uri: Uri,
}

/// Why a string is no base URL. It never holds the string, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    /// Not an absolute http or https URL.
    #[error("is not of the form https://host[:port][/path]")]
    NotAUrl,
    /// It holds a user name.
    #[error("must not hold a user name or password: requests carry the profile's own credential")]
    Credential,
    /// It has a query or a fragment.
    #[error("must not have a query or a fragment: request paths are appended to it")]
    MoreThanAPath,
    /// Plain http to another machine.
    #[error("is plain http to another machine; the credential would be sent unencrypted")]
    PlainHttp,
}

impl FromStr for BaseUrl {
    type Err = BaseUrlError;

    fn from_str(text: &str) -> Result<Self, BaseUrlError> {
        // Uri silently drops a fragment.
        if text.contains(['?', '#']) {
            return Err(BaseUrlError::MoreThanAPath);
        }
        let uri: Uri = text.parse().map_err(|_| BaseUrlError::NotAUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(BaseUrlError::NotAUrl);
        };
        if authority.as_str().contains('@') {
            return Err(BaseUrlError::Credential);
        }
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("") => None,
            // Uri ignores a port that is not a number.
            _ => Some(authority.port_u16().ok_or(BaseUrlError::NotAUrl)?),
        };
        let host = normal_host(authority.host());
        let default_port = match scheme.as_str() {
            "https" => 443,
            "http" if is_loopback(&host) => 80,
            "http" => return Err(BaseUrlError::PlainHttp),
            _ => return Err(BaseUrlError::NotAUrl),
        };
        let port = port.filter(|port| *port != default_port);
        let port = port.map_or_else(String::new, |port| format!(":{port}"));
        let path = uri.path().trim_end_matches('/');
        let text = format!("{scheme}://{host}{port}{path}");
        let uri = text.parse().map_err(|_| BaseUrlError::NotAUrl)?;
        Ok(Self { text, uri })
    }
}

impl BaseUrl {
    /// The URL of `path` below it; none if that is not a URL.
    pub(super) fn below(&self, path: &str) -> Option<Uri> {
        format!("{}{path}", self.text).parse().ok()
    }

    pub(crate) const fn uri(&self) -> &Uri {
        &self.uri
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A name in lower case, an address in its usual form.
fn normal_host(host: &str) -> String {
    match address(host) {
        Some(IpAddr::V6(ip)) => format!("[{ip}]"),
        Some(IpAddr::V4(ip)) => ip.to_string(),
        None => host.to_ascii_lowercase(),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || address(host).is_some_and(|ip| ip.is_loopback())
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<String, BaseUrlError> {
        text.parse().map(|url: BaseUrl| url.to_string())
    }

    #[test]
    fn one_upstream_has_one_normal_form() {
        let form = "https://media.example";
        for same in ["", "/", "//", ":443", ":443/", ":0443"] {
            assert_eq!(parse(&format!("{form}{same}")).as_deref(), Ok(form), "{same}");
        }
        assert_eq!(parse("HTTPS://Media.EXAMPLE").as_deref(), Ok(form));
        let other = ["https://media.example:80", "https://media.example/Base/v2"];
        for other in other {
            assert_eq!(parse(&format!("{other}/")).as_deref(), Ok(other));
        }
        for (one, form) in [
            ("http://LOCALHOST:80/", "http://localhost"),
            ("http://[0:0::0:1]:80", "http://[::1]"),
            ("http://127.0.0.1:8765/base//", "http://127.0.0.1:8765/base"),
        ] {
            assert_eq!(parse(one).as_deref(), Ok(form));
        }
    }

    #[test]
    fn invalid_base_url_is_refused_without_an_echo() {
        let password = "q1W2e3R4";
        let cases = [
            (format!("https://user:{password}@media.example"), BaseUrlError::Credential),
            (format!("https://{password}@media.example"), BaseUrlError::Credential),
            (format!("https://:{password}@media.example:443/"), BaseUrlError::Credential),
            (format!("http://user:{password}@127.0.0.1"), BaseUrlError::Credential),
            (format!("https://a.example/?{password}"), BaseUrlError::MoreThanAPath),
            (format!("https://a.example/#{password}"), BaseUrlError::MoreThanAPath),
            (format!("https://a.example#{password}"), BaseUrlError::MoreThanAPath),
            (format!("http://{password}.example"), BaseUrlError::PlainHttp),
            (format!("ftp://{password}.example"), BaseUrlError::NotAUrl),
            (format!("//{password}.example"), BaseUrlError::NotAUrl),
            (format!("https:{password}"), BaseUrlError::NotAUrl),
            (format!("https://a.example:{password}"), BaseUrlError::NotAUrl),
            ("https://a.example:".into(), BaseUrlError::NotAUrl),
            ("https://a.example:65536".into(), BaseUrlError::NotAUrl),
            ("https://".into(), BaseUrlError::NotAUrl),
            ("/base".into(), BaseUrlError::NotAUrl),
            (String::new(), BaseUrlError::NotAUrl),
        ];
        for (text, error) in cases {
            assert_eq!(parse(&text), Err(error), "{text}");
            assert!(!format!("{error} {error:?}").contains(password));
        }
    }
}
