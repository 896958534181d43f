//! The operator's HTTP listener, on loopback: `/livez`, `/readyz` and `/metrics`.

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use crate::{
    drain::{Drain, Phase},
    listen::{Listen, Listeners},
    ready::Ready,
    telemetry::{METRICS_CONTENT_TYPE, Metrics},
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
            let Ok(stream) = accepted else {
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
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "live\n".to_owned()),
            "/readyz" => self.readiness(),
            "/metrics" => with_type(StatusCode::OK, self.metrics.render(), METRICS_CONTENT_TYPE),
            _ => text(StatusCode::NOT_FOUND, "/livez, /readyz or /metrics\n".to_owned()),
        }
    }

    fn readiness(&self) -> Response<Full<Bytes>> {
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
    with_type(status, body, "text/plain; charset=utf-8")
}

fn with_type(status: StatusCode, body: String, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}
