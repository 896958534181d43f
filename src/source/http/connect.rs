//! A connection to an upstream: directly or through a proxy's tunnel, over TLS unless the
//! upstream is plain http.

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

/// The share of an exchange's time that all of a name's addresses of one family may take to
/// connect to, one after the other: each gets an equal part of it, so that one that does not
/// answer leaves time for the next.
const CONNECTING: f64 = 0.75;

/// How many header lines an answer may have: each gateway on the way adds some.
const MAX_HEADERS: usize = 1_000;

/// What requests are sent by.
pub(super) type Sender = http1::SendRequest<Full<Bytes>>;

/// Whom a connection is made to.
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
    /// Connects to `upstream` for exchanges that have `timeout` in all.
    pub(super) fn new(
        upstream: Uri,
        egress: &Egress,
        resolver: Resolver,
        timeout: Duration,
    ) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout.mul_f64(CONNECTING)));
        let tls = egress.roots.as_ref().map(|roots| Tls::new(&roots.tls));
        Self { upstream, proxy: egress.route.proxy().cloned(), tls, tcp }
    }

    /// A new connection.
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
        connected.map(TokioIo::into_inner).map_err(|error| unreached(&error, hop))
    }

    /// Asks the proxy for a tunnel to the upstream.
    async fn tunnel<T>(&self, proxy: &Proxy, io: T) -> Result<Upgraded, Fault>
    where
        T: Read + Write + Unpin + Send + 'static,
    {
        const LOST: Fault = Fault::new(FaultClass::Transient, "PROXY_CONNECTION_LOST");

        let host = self.upstream.host().unwrap_or_default();
        let place = format!("{host}:{}", self.upstream.port_u16().unwrap_or(443));
        let mut request = Request::connect(&place).header(header::HOST, &place);
        if let Some(authorization) = proxy.authorization() {
            request = request.header(header::PROXY_AUTHORIZATION, authorization);
        }
        let request = request
            .body(Empty::<Bytes>::new())
            .map_err(|_| Fault::new(FaultClass::Misconfigured, "URL_INVALID"))?;
        let (mut sender, connection) = http1().handshake(io).await.map_err(|_| LOST)?;
        tokio::spawn(connection.with_upgrades());
        let answer = sender.send_request(request).await.map_err(|error| {
            if error.is_parse() {
                Fault::new(FaultClass::Transient, "PROXY_ANSWER_MALFORMED")
            } else {
                LOST
            }
        })?;
        match no_tunnel(answer.status()) {
            Some(fault) => Err(fault),
            None => hyper::upgrade::on(answer).await.map_err(|_| LOST),
        }
    }
}

/// HTTP/1.1 with all that gateways add to an answer and that cannot change its meaning.
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
    // It ends with its sender, or by an error that the sender sees too.
    tokio::spawn(connection);
    Ok(sender)
}

/// The fault that a proxy's status means; none where the tunnel is there.
fn no_tunnel(status: StatusCode) -> Option<Fault> {
    Some(match status.as_u16() {
        200..=299 => return None,
        407 => Fault::new(FaultClass::Misconfigured, "PROXY_AUTHENTICATION_REFUSED"),
        408 | 429 | 500.. => Fault::new(FaultClass::Transient, "PROXY_FAILED"),
        _ => Fault::new(FaultClass::Misconfigured, "PROXY_REFUSED"),
    })
}

/// The fault of a handshake with the proxy itself.
fn proxy_tls_fault(fault: &Fault) -> Fault {
    match fault.class {
        FaultClass::Misconfigured => Fault::new(FaultClass::Misconfigured, "PROXY_TLS_REFUSED"),
        _ => Fault::new(FaultClass::Transient, "PROXY_TLS_FAILED"),
    }
}

fn unreached(error: &(dyn Error + 'static), hop: Hop) -> Fault {
    match (is_of_lookup(error), hop) {
        (true, Hop::Upstream) => Fault::new(FaultClass::Transient, "DNS_FAILED"),
        (true, Hop::Proxy) => Fault::new(FaultClass::Transient, "PROXY_DNS_FAILED"),
        (false, Hop::Upstream) => Fault::new(FaultClass::Transient, "CONNECT_FAILED"),
        (false, Hop::Proxy) => Fault::new(FaultClass::Transient, "PROXY_CONNECT_FAILED"),
    }
}

fn is_of_lookup(outermost: &(dyn Error + 'static)) -> bool {
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
