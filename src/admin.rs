//! The operator's HTTP listener: `/livez`, `/readyz` and `/metrics`. It may be reachable from a
//! network, so it is read-only, and it names resources only where configured to.

mod accept;
mod host;

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use self::accept::metrics_format;
use crate::{
    drain::{Drain, Phase},
    listen::{
        Listen, Listeners,
        connection_limit::{ConnectionLimit, Permit},
    },
    ready::Ready,
    settings::SigningSecret,
    telemetry::{Metrics, ResourceNames},
};

/// The admin listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address.
    pub listen: Listen,
    /// Whether the pages name resources; unset: on loopback only.
    pub details: Option<bool>,
    /// Key for the pseudonyms that replace resource names. Without a key, anyone who knows a
    /// resource's name can recognise its pseudonym on the pages.
    pub names_key: Option<SigningSecret>,
    /// Accepted `Host` names, in lower case, besides `localhost` and IP addresses.
    pub hosts: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9_464)).into(),
            details: None,
            names_key: None,
            hosts: Vec::new(),
        }
    }
}

impl Config {
    /// Whether the pages name resources.
    #[must_use]
    pub fn has_details(&self) -> bool {
        self.details.unwrap_or_else(|| self.listen.is_loopback())
    }
}

const MAX_CONNECTIONS: usize = 64;
/// The per-address connection limit.
const MAX_CONNECTIONS_PER_ADDRESS: usize = 16;

/// The time limit for a request's headers.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// The maximum connection age: probes and scrapes are short.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bound admin listener.
#[derive(Debug)]
pub struct Admin {
    listeners: Listeners,
    addr: SocketAddr,
    pages: Pages,
}

/// The state that the pages show.
#[derive(Clone, Debug)]
struct Pages {
    ready: Arc<Ready>,
    metrics: Metrics,
    resource_names: ResourceNames,
    hosts: Arc<[String]>,
}

impl Admin {
    /// Binds the configured address. `resource_names` formats resources on the pages.
    pub async fn bind(
        config: &Config,
        ready: Arc<Ready>,
        metrics: Metrics,
        resource_names: ResourceNames,
    ) -> io::Result<Self> {
        let listeners = Listeners::bind(config.listen).await?;
        let addr = listeners.addr()?;
        let hosts = config.hosts.clone().into();
        Ok(Self { listeners, addr, pages: Pages { ready, metrics, resource_names, hosts } })
    }

    /// The bound address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves requests until all other parts have stopped.
    pub async fn run(self, drain: Drain) {
        let connections = ConnectionLimit::new(MAX_CONNECTIONS, MAX_CONNECTIONS_PER_ADDRESS);
        loop {
            let accepted = tokio::select! {
                () = drain.wait(Phase::Closing) => return,
                accepted = self.listeners.accept() => accepted,
            };
            let Ok((stream, from)) = accepted else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let permit = connections.admit(from.ip()).await;
            tokio::spawn(serve(stream, self.pages.clone(), permit));
        }
    }
}

/// Serves one connection until it closes, is too old or is displaced by a newer one.
async fn serve(stream: TcpStream, pages: Pages, permit: Permit) {
    let service = service_fn(move |request| {
        let response = pages.respond(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        _ = timeout(CONNECTION_LIFE, connection) => {}
        () = permit.displaced() => {}
    }
}

impl Pages {
    fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !host::is_ours(request, &self.hosts) {
            let refused = "the Host is not an IP address, not localhost and not in [admin] hosts\n";
            return text(StatusCode::MISDIRECTED_REQUEST, refused.to_owned());
        }
        let page = match request.uri().path() {
            "/livez" => Self::liveness,
            "/readyz" => Self::readiness,
            "/metrics" => Self::metrics,
            _ => return text(StatusCode::NOT_FOUND, "/livez, /readyz or /metrics\n".to_owned()),
        };
        if request.method() == Method::GET || request.method() == Method::HEAD {
            return page(self, request.headers());
        }
        let refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
        with(refused, header::ALLOW, "GET, HEAD")
    }

    #[expect(clippy::unused_self, reason = "same signature as the other pages")]
    fn liveness(&self, _: &HeaderMap) -> Response<Full<Bytes>> {
        text(StatusCode::OK, "live\n".to_owned())
    }

    fn metrics(&self, headers: &HeaderMap) -> Response<Full<Bytes>> {
        let format = metrics_format(headers);
        let page = Response::new(Full::from(self.metrics.render(format)));
        let page = with(page, header::CONTENT_TYPE, format.content_type());
        with(page, header::VARY, "Accept")
    }

    fn readiness(&self, _: &HeaderMap) -> Response<Full<Bytes>> {
        let (status, word) = if self.ready.is_ready() {
            (StatusCode::OK, "ready")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready")
        };
        let mut body = format!("{word}\n");
        for line in self.ready.lines(&self.resource_names) {
            body.push_str(&line);
            body.push('\n');
        }
        text(status, body)
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    with(response, header::CONTENT_TYPE, "text/plain; charset=utf-8")
}

fn with(
    mut response: Response<Full<Bytes>>,
    name: HeaderName,
    value: &'static str,
) -> Response<Full<Bytes>> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
