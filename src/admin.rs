//! The operator's HTTP listener: the status page with its `/events` and `/status.json`, `/livez`,
//! `/readyz` and `/metrics`. It may be reachable from a network, so it is read-only, and it names
//! resources only where configured to.

mod accept;
mod events;
mod host;
mod page;
pub mod status;

use std::{
    convert::Infallible,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, task::spawn_blocking, time::sleep};

use self::{
    accept::metrics_format,
    events::{Events, Viewing},
    page::Page,
    status::{Selection, Sources, Status},
};
use crate::{
    drain::{Drain, Phase},
    listen::{
        Listen, Listeners,
        connection_limit::{ConnectionLimit, Permit},
    },
    ready::Ready,
    settings::SigningSecret,
    telemetry::{Metrics, RecentProblems, ResourceNames},
};

/// The admin listener.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address.
    pub listen: Listen,
    /// Whether the pages name resources; unset: on loopback only.
    pub details: Option<bool>,
    /// Key for the pseudonyms that replace resource names. Without a key, anyone who knows a
    /// resource's name can recognize its pseudonym on the pages.
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

/// The maximum connection age: probes and scrapes are short. Event streams have no maximum age.
const CONNECTION_LIFE: Duration = Duration::from_secs(60);

/// Body bytes that are buffered for a connection.
const MAX_BUFFERED: usize = 64 * 1024;

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
    page: Page,
    status: Arc<Status>,
    events: Arc<Events>,
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Admin {
    /// Binds the configured address. `resource_names` formats resources on the pages; `sources` are
    /// shown on the status page.
    pub async fn bind(
        config: &Config,
        ready: Arc<Ready>,
        metrics: Metrics,
        resource_names: ResourceNames,
        sources: Sources,
    ) -> io::Result<Self> {
        let listeners = Listeners::bind(config.listen).await?;
        let addr = listeners.addr()?;
        let hosts = config.hosts.clone().into();
        let (of_status, names) = (Arc::clone(&ready), resource_names.clone());
        let status = Arc::new(Status::new(of_status, metrics.clone(), names, sources));
        let (page, events) = (Page::new(), Arc::default());
        let pages = Pages { ready, metrics, resource_names, hosts, page, status, events };
        Ok(Self { listeners, addr, pages })
    }

    /// Shows these warnings and errors on the status page.
    pub fn show_problems(&mut self, problems: RecentProblems) {
        if let Some(status) = Arc::get_mut(&mut self.pages.status) {
            status.show_problems(problems);
        }
    }

    /// The bound address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves requests until all other parts have stopped.
    pub async fn run(self, drain: Drain) {
        let (events, status) = (Arc::clone(&self.pages.events), Arc::clone(&self.pages.status));
        tokio::select! {
            () = self.accept(drain) => {}
            () = events.run(&status) => {}
        }
    }

    async fn accept(self, drain: Drain) {
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

/// Serves one connection until it closes, is too old or is displaced by a newer one. An event
/// stream is open as long as it is read, and does not count among the connections.
async fn serve(stream: TcpStream, pages: Pages, permit: Permit) {
    let viewing = Arc::new(Viewing::default());
    let of_service = Arc::clone(&viewing);
    let service = service_fn(move |request| {
        let (pages, viewing) = (pages.clone(), Arc::clone(&of_service));
        async move { Ok::<_, Infallible>(pages.respond(&request, &viewing).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_BUFFERED)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    tokio::select! {
        _ = &mut connection => return,
        () = sleep(CONNECTION_LIFE) => return,
        () = permit.displaced() => return,
        () = viewing.begins() => {}
    }
    drop(permit);
    tokio::select! {
        _ = connection => {}
        () = viewing.stalls() => {}
    }
}

const PAGES: &str = "/, /events, /status.json, /livez, /readyz or /metrics\n";

impl Pages {
    async fn respond(&self, request: &Request<Incoming>, viewing: &Arc<Viewing>) -> Response<Body> {
        if !host::is_ours(request, &self.hosts) {
            let refused = "the Host is not an IP address, not localhost and not in [admin] hosts\n";
            return text(StatusCode::MISDIRECTED_REQUEST, refused.to_owned());
        }
        let is_known = matches!(
            request.uri().path(),
            "/" | "/events" | "/status.json" | "/livez" | "/readyz" | "/metrics"
        );
        if is_known && request.method() != Method::GET && request.method() != Method::HEAD {
            let refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n".to_owned());
            return with(refused, header::ALLOW, "GET, HEAD");
        }
        match request.uri().path() {
            "/" => self.page(),
            "/events" => self.events(request.method(), viewing),
            "/status.json" => self.status(Selection::read(request.uri())).await,
            "/livez" => text(StatusCode::OK, "live\n".to_owned()),
            "/readyz" => self.readiness(),
            "/metrics" => self.metrics(request.headers()).await,
            _ => text(StatusCode::NOT_FOUND, PAGES.to_owned()),
        }
    }

    fn page(&self) -> Response<Body> {
        let page = response(StatusCode::OK, self.page.document.clone());
        let page = with(page, header::CONTENT_TYPE, "text/html; charset=utf-8");
        let mut page = with(page, header::REFERRER_POLICY, "no-referrer");
        page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, self.page.policy.clone());
        as_is(page)
    }

    fn events(&self, method: &Method, viewing: &Arc<Viewing>) -> Response<Body> {
        let body = if method == Method::HEAD {
            Some(Empty::new().boxed_unsync())
        } else {
            self.events.join(viewing)
        };
        let Some(body) = body else {
            let full = "all places for viewers are taken\n";
            return with(
                text(StatusCode::SERVICE_UNAVAILABLE, full.to_owned()),
                header::RETRY_AFTER,
                "5",
            );
        };
        as_is(with(Response::new(body), header::CONTENT_TYPE, "text/event-stream"))
    }

    async fn status(&self, selection: Selection) -> Response<Body> {
        let status = Arc::clone(&self.status);
        as_is(rendered("application/json", move || status.render(&selection)).await)
    }

    async fn metrics(&self, headers: &HeaderMap) -> Response<Body> {
        let (metrics, format) = (self.metrics.clone(), metrics_format(headers));
        let render = move || metrics.render(format).into();
        with(rendered(format.content_type(), render).await, header::VARY, "Accept")
    }

    fn readiness(&self) -> Response<Body> {
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

/// The page that `render` returns. It runs on another thread: with many resources it takes long
/// enough to delay calls.
async fn rendered(
    content_type: &'static str,
    render: impl FnOnce() -> Bytes + Send + 'static,
) -> Response<Body> {
    match spawn_blocking(render).await {
        Ok(page) => with(response(StatusCode::OK, page), header::CONTENT_TYPE, content_type),
        Err(_) => text(StatusCode::INTERNAL_SERVER_ERROR, "cannot be rendered\n".to_owned()),
    }
}

fn response(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    with(response(status, body.into()), header::CONTENT_TYPE, "text/plain; charset=utf-8")
}

/// A response that is neither cached nor interpreted as another content type.
fn as_is(response: Response<Body>) -> Response<Body> {
    let response = with(response, header::CACHE_CONTROL, "no-store");
    with(response, header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

fn with(mut response: Response<Body>, name: HeaderName, value: &'static str) -> Response<Body> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
