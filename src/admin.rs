//! The operator's HTTP listener, on loopback: `/livez`, `/readyz` and `/metrics`.

mod accept;

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
    sync::Semaphore,
    time::{sleep, timeout},
};

use self::accept::metrics_format;
use crate::{
    drain::{Drain, Phase},
    listen::{Listen, Listeners},
    ready::Ready,
    telemetry::Metrics,
};

/// Where the admin listener is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The address; loopback only.
    pub listen: Listen,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9_464)).into() }
    }
}

const MAX_CONNECTIONS: usize = 64;

/// A connection is closed after this: probes and scrapes are short.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The bound admin listener.
#[derive(Debug)]
pub struct Admin {
    listeners: Listeners,
    addr: SocketAddr,
    told: Told,
}

/// What it tells.
#[derive(Clone, Debug)]
struct Told {
    ready: Arc<Ready>,
    metrics: Metrics,
}

impl Admin {
    /// Binds to `listen`.
    pub async fn bind(listen: Listen, ready: Arc<Ready>, metrics: Metrics) -> io::Result<Self> {
        let listeners = Listeners::bind(listen).await?;
        let addr = listeners.addr()?;
        Ok(Self { listeners, addr, told: Told { ready, metrics } })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Answers until everything else has ended.
    pub async fn run(self, drain: Drain) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = drain.wait(Phase::Cut) => return,
                accepted = self.listeners.accept() => accepted,
            };
            let Ok((stream, _)) = accepted else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let told = self.told.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let response = told.answer(&request);
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service);
                let _ = timeout(CONNECTION_LIFE, connection).await;
                drop(place);
            });
        }
    }
}

impl Told {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
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

    #[expect(clippy::unused_self, reason = "as the other pages")]
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
        for line in self.ready.lines() {
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
