//! The addresses to listen on: free, or already served by a grantmint.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use grantmint::{
    listen::{
        Listen, Listeners,
        unix::{Unix, UnixError},
    },
    rpc::TOKEN_SERVICE,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::transport::Endpoint;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{
    Context,
    row::{Row, Subject},
};

const GROUP: &str = "listeners";

/// The time limit for finding out what listens on an address.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a check found at an address.
enum Found {
    Free,
    /// A server of this program.
    Grantmint,
    /// Anything else.
    Other,
    Unusable(std::io::Error),
}

/// Checks the call and the admin addresses.
pub(super) async fn check(context: &Context) -> Vec<Row> {
    let config = &context.config;
    let admin = match bound(config.admin.listen).await {
        Found::Other if is_admin(config.admin.listen).await => Found::Grantmint,
        found => found,
    };
    let mut rows = Vec::new();
    if let Some(listen) = config.server.listen.tcp() {
        let found = match bound(listen).await {
            // With TLS, only a client with a certificate could ask.
            Found::Other if config.tls.is_some() && matches!(admin, Found::Grantmint) => {
                Found::Grantmint
            }
            Found::Other if config.tls.is_none() && serves_calls(listen).await => Found::Grantmint,
            found => found,
        };
        rows.push(row("calls", listen, &found));
    }
    if let Some(unix) = config.server.listen.unix() {
        rows.push(socket(unix));
    }
    rows.push(row("admin", config.admin.listen, &admin));
    rows
}

/// Binds an address and releases it at once.
async fn bound(listen: Listen) -> Found {
    match Listeners::bind(listen).await {
        Ok(_) => Found::Free,
        Err(error) if error.kind() == ErrorKind::AddrInUse => Found::Other,
        Err(error) => Found::Unusable(error),
    }
}

fn row(name: &str, listen: Listen, found: &Found) -> Row {
    let subject = Subject::new(GROUP, name);
    let another = "find the process with ss -ltnp and stop it, or set another listen";
    match found {
        Found::Free => subject.ok(format!("{listen} is free")),
        Found::Grantmint => subject.ok(format!("{listen} is served by a running grantmint")),
        Found::Other => subject.failed(format!("{listen} is in use by another program"), another),
        Found::Unusable(error) => {
            let fix = match error.kind() {
                ErrorKind::AddrNotAvailable => "set listen to an address of this host",
                ErrorKind::PermissionDenied => {
                    "set a port from 1024, or grant CAP_NET_BIND_SERVICE"
                }
                _ => "set another listen",
            };
            subject.failed(format!("cannot listen on {listen}: {error}"), fix)
        }
    }
}

fn socket(unix: &Unix) -> Row {
    let subject = Subject::new(GROUP, "calls");
    match unix.probe() {
        Ok(()) => subject.ok(format!("{unix} is free")),
        Err(UnixError::Taken) => subject.ok(format!("{unix} is served by a running server")),
        Err(error) => subject.failed(format!("{unix}: {error}"), error.next()),
    }
}

/// An address of this host at which a client reaches the listener.
fn reachable(listen: Listen) -> SocketAddr {
    match listen {
        Listen::At(at) if at.ip().is_unspecified() => {
            let loopback: std::net::IpAddr = if at.is_ipv4() {
                std::net::Ipv4Addr::LOCALHOST.into()
            } else {
                std::net::Ipv6Addr::LOCALHOST.into()
            };
            (loopback, at.port()).into()
        }
        Listen::At(at) => at,
        Listen::Localhost(port) => (std::net::Ipv4Addr::LOCALHOST, port).into(),
    }
}

/// Whether a grantmint serves calls there: only its health service knows its services.
async fn serves_calls(listen: Listen) -> bool {
    let asked = async {
        let endpoint = Endpoint::from_shared(format!("http://{}", reachable(listen))).ok()?;
        let mut client = HealthClient::new(endpoint.connect().await.ok()?);
        let request = HealthCheckRequest { service: TOKEN_SERVICE.to_owned() };
        client.check(request).await.ok()
    };
    timeout(PATIENCE, asked).await.is_ok_and(|response| response.is_some())
}

/// Whether a grantmint's admin pages are there.
async fn is_admin(listen: Listen) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(reachable(listen)).await.ok()?;
        let request = b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request).await.ok()?;
        let mut start = String::new();
        stream.take(64 * 1024).read_to_string(&mut start).await.ok()?;
        Some(start.contains("grantmint_"))
    };
    timeout(PATIENCE, asked).await.is_ok_and(|found| found == Some(true))
}
