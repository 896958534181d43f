//! Connections to an upstream: directly or through a proxy tunnel, over TLS unless the upstream is
//! plain http.

use std::{error::Error, io, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{Empty, Full};
use hyper::{
    client::conn::http1,
    rt::{Read, Write},
    upgrade::Upgraded,
};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use tokio::net::TcpStream;
use tower_service::Service;

use super::tls::Tls;
use crate::{
    egress::{Egress, Proxy},
    grant::{Fault, FaultClass},
    source::dns::{LookupError, Resolver},
};

/// The share of an exchange's timeout for connecting to all of a name's addresses of one family in
/// turn. Each address gets an equal part, so that a silent one leaves time for the next.
const CONNECT_SHARE: f64 = 0.75;

/// The maximum number of header lines in a response: each gateway adds some.
const MAX_HEADERS: usize = 1_000;

/// Sends requests on a connection.
pub(super) type Sender = http1::SendRequest<Full<Bytes>>;

/// The peer of a connection.
#[derive(Clone, Copy)]
enum Hop {
    Upstream,
    Proxy,
}

/// Connects to one upstream.
pub(super) struct Connector {
    upstream: Uri,
    proxy: Option<Proxy>,
    /// None for plain http.
    tls: Option<Tls>,
    tcp: HttpConnector<Resolver>,
}

impl Connector {
    /// Connects to `upstream` for exchanges with this total timeout.
    pub(super) fn new(
        upstream: Uri,
        egress: &Egress,
        resolver: Resolver,
        timeout: Duration,
    ) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout.mul_f64(CONNECT_SHARE)));
        let tls = egress.roots.as_ref().map(|roots| Tls::new(&roots.tls));
        Self { upstream, proxy: egress.route.proxy().cloned(), tls, tcp }
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<Sender, Fault> {
        let Some(tls) = &self.tls else {
            let plain = self.tcp(&self.upstream, Hop::Upstream).await?;
            return speak_http(TokioIo::new(plain)).await;
        };
        let host = self.upstream.host().unwrap_or_default();
        let Some(proxy) = &self.proxy else {
            let plain = self.tcp(&self.upstream, Hop::Upstream).await?;
            let secure = tls.handshake(host, plain).await?;
            return speak_http(TokioIo::new(secure)).await;
        };
        let plain = self.tcp(proxy.uri(), Hop::Proxy).await?;
        let tunnel = if proxy.is_https() {
            let host = proxy.uri().host().unwrap_or_default();
            let secure =
                tls.handshake(host, plain).await.map_err(|fault| proxy_tls_fault(&fault))?;
            self.tunnel(proxy, TokioIo::new(secure)).await?
        } else {
            self.tunnel(proxy, TokioIo::new(plain)).await?
        };
        let secure = tls.handshake(host, TokioIo::new(tunnel)).await?;
        speak_http(TokioIo::new(secure)).await
    }

    async fn tcp(&self, to: &Uri, hop: Hop) -> Result<TcpStream, Fault> {
        let connected = self.tcp.clone().call(to.clone()).await;
        connected.map(TokioIo::into_inner).map_err(|error| connect_fault(&error, hop))
    }

    /// Requests a tunnel to the upstream from the proxy.
    async fn tunnel<T>(&self, proxy: &Proxy, io: T) -> Result<Upgraded, Fault>
    where
        T: Read + Write + Unpin + Send + 'static,
    {
        const LOST: Fault = Fault::new(FaultClass::Transient, "PROXY_CONNECTION_LOST");

        let host = self.upstream.host().unwrap_or_default();
        let authority = format!("{host}:{}", self.upstream.port_u16().unwrap_or(443));
        let mut request = Request::connect(&authority).header(header::HOST, &authority);
        if let Some(authorization) = proxy.authorization() {
            request = request.header(header::PROXY_AUTHORIZATION, authorization);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|_| Fault::new(FaultClass::Misconfigured, "URL_INVALID"))?;
        let (mut sender, connection) = http1().handshake(io).await.map_err(|_| LOST)?;
        tokio::spawn(connection.with_upgrades());
        let response = sender.send_request(request).await.map_err(|error| {
            if error.is_parse() {
                Fault::new(FaultClass::Transient, "PROXY_ANSWER_MALFORMED")
            } else {
                LOST
            }
        })?;
        match tunnel_fault(response.status()) {
            Some(fault) => Err(fault),
            None => hyper::upgrade::on(response).await.map_err(|_| LOST),
        }
    }
}

/// HTTP/1.1 that tolerates harmless additions of gateways to a response.
fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_headers(MAX_HEADERS)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true);
    builder
}

async fn speak_http<T>(io: T) -> Result<Sender, Fault>
where
    T: Read + Write + Unpin + Send + 'static,
{
    let (sender, connection) = http1()
        .handshake(io)
        .await
        .map_err(|_| Fault::new(FaultClass::Transient, "CONNECTION_LOST"))?;
    // It ends with its sender, or with an error that the sender sees too.
    tokio::spawn(connection);
    Ok(sender)
}

/// The fault for a proxy's status; none if the tunnel is open.
fn tunnel_fault(status: StatusCode) -> Option<Fault> {
    Some(match status.as_u16() {
        200..=299 => return None,
        407 => Fault::new(FaultClass::Misconfigured, "PROXY_AUTHENTICATION_REFUSED"),
        408 | 429 | 500.. => Fault::new(FaultClass::Transient, "PROXY_FAILED"),
        _ => Fault::new(FaultClass::Misconfigured, "PROXY_REFUSED"),
    })
}

/// The fault of a TLS handshake with the proxy itself.
fn proxy_tls_fault(fault: &Fault) -> Fault {
    match fault.class {
        FaultClass::Misconfigured => Fault::new(FaultClass::Misconfigured, "PROXY_TLS_REFUSED"),
        _ => Fault::new(FaultClass::Transient, "PROXY_TLS_FAILED"),
    }
}

fn connect_fault(error: &(dyn Error + 'static), hop: Hop) -> Fault {
    match (is_lookup_error(error), hop) {
        (true, Hop::Upstream) => Fault::new(FaultClass::Transient, "DNS_FAILED"),
        (true, Hop::Proxy) => Fault::new(FaultClass::Transient, "PROXY_DNS_FAILED"),
        (false, Hop::Upstream) => Fault::new(FaultClass::Transient, "CONNECT_FAILED"),
        (false, Hop::Proxy) => Fault::new(FaultClass::Transient, "PROXY_CONNECT_FAILED"),
    }
}

fn is_lookup_error(outermost: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(outermost);
    while let Some(error) = cause {
        if error.is::<LookupError>() {
            return true;
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    false
}
