//! Checks that a request is meant for this server. A page in a browser can make its own host name
//! resolve to any address and then read the responses (DNS rebinding). It cannot do so with an IP
//! address or `localhost`.

use std::net::IpAddr;

use http::{Request, header};

/// Whether the request's host is an IP address, `localhost` or one of `names`. A request without a
/// host does not come from a browser.
pub(super) fn is_ours<B>(request: &Request<B>, names: &[String]) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (None, _) => request.uri().host(),
        (Some(host), None) => host.to_str().ok().map(without_port),
        (Some(_), Some(_)) => return false,
    };
    let Some(host) = host else { return request.headers().get(header::HOST).is_none() };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| host.eq_ignore_ascii_case(name))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            // In an unbracketed split the "port" is the last group of an IPv6 address.
            if name.starts_with('[') && !name.ends_with(']') { host } else { name }
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_an_address_localhost_or_configured() {
        let names = ["mint.example".to_owned()];
        let ours = |hosts: &[&str]| {
            let mut request = Request::new(());
            for host in hosts {
                request.headers_mut().append(header::HOST, host.parse().unwrap());
            }
            is_ours(&request, &names)
        };
        for host in [
            "127.0.0.1",
            "10.1.2.3:9464",
            "[::1]",
            "[2001:db8::1]:9464",
            "localhost",
            "LOCALHOST:9464",
            "mint.example",
            "Mint.Example:80",
        ] {
            assert!(ours(&[host]), "{host}");
        }
        for host in [
            "",
            "attacker.example",
            "localhost.attacker.example",
            "mint.example.",
            "127.0.0.1.x:80",
        ] {
            assert!(!ours(&[host]), "{host}");
        }
        assert!(ours(&[]), "HTTP/1.0");
        assert!(!ours(&["localhost", "attacker.example"]));
    }
}
