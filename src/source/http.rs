//! One HTTP exchange with an upstream, under the limits of every provider's source: a timeout for
//! the whole exchange, a body of up to 64 KiB, no redirects, and one immediate retry if a pooled
//! connection is stale.

mod answer;
mod connect;
mod tls;

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header, uri::Scheme};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};

pub use self::answer::{Answer, retry_after};
use self::{
    answer::read_body,
    connect::{Connector, Sender},
};
use super::{base_url::BaseUrl, dns::Resolver, skew::Skew};
use crate::{
    clock::{BootTime, Clock},
    egress::Egress,
    grant::{Fault, FaultClass},
    telemetry::trace::{self, Kind, Span},
};

/// The default timeout of an exchange: connect, TLS, headers and body.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait for the body of a refusal after its head. It has usually arrived already, and
/// adds little.
const REFUSAL_PATIENCE: Duration = Duration::from_millis(500);

/// The maximum number of idle connections.
const MAX_IDLE: usize = 8;

/// How long a connection is kept idle. A default refresh follows within 50 s. Middleboxes often
/// forget a connection after a minute, and silently drop what is sent on it.
const IDLE_LIFE: Duration = Duration::from_secs(55);

const TIMEOUT: Fault = Fault::new(FaultClass::Transient, "TIMEOUT");

/// Calls one upstream over HTTP/1.1, with TLS unless it is plain http on loopback.
pub struct HttpClient {
    base: BaseUrl,
    clock: Clock,
    timeout: Duration,
    connector: Connector,
    idle: Mutex<Vec<Idle>>,
    skew: Skew,
}

/// An idle connection.
struct Idle {
    sender: Sender,
    since: BootTime,
}

impl HttpClient {
    /// A client of the upstream at `base`, reached over `egress`, with `timeout` for each
    /// exchange.
    pub fn new(base: BaseUrl, egress: &Egress, clock: Clock, timeout: Duration) -> Self {
        Self::with(base, egress, clock, timeout, Resolver::system())
    }

    fn with(
        base: BaseUrl,
        egress: &Egress,
        clock: Clock,
        timeout: Duration,
        resolver: Resolver,
    ) -> Self {
        let connector = Connector::new(base.uri().clone(), egress, resolver, timeout);
        let idle = Mutex::default();
        Self { base, clock, timeout, connector, idle, skew: Skew::default() }
    }

    /// The clock that anchors are read from.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How many seconds the upstream's clock is ahead of ours, by the Date of its last response.
    pub fn clock_skew(&self) -> Option<f64> {
        self.skew.seconds()
    }

    /// The URL of `path` below the base.
    pub fn uri(&self, path: &str) -> Result<Uri, Fault> {
        self.base.below(path).ok_or(Fault::new(FaultClass::Misconfigured, "URL_INVALID"))
    }

    /// Sends `request` and returns the response, whatever its status, for the source to
    /// classify. A failure to read the body of a refusal does not change the refusal.
    ///
    /// # Errors
    ///
    /// No valid response was received: a fault of the route, of TLS or of the connection;
    /// `TIMEOUT` if no response head was received in time.
    pub async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        let span = trace::child(request.method().to_string(), Kind::Client);
        let method = span.as_ref().map(|_| request.method().clone());
        let result = self.exchange_once(request).await;
        if let Some((span, method)) = span.zip(method) {
            self.end_span(span, &method, &result);
        }
        result
    }

    /// Ends a span, with the attributes of the conventions for HTTP clients. The path is omitted: it
    /// may hold an account or a resource.
    fn end_span(&self, mut span: Span, method: &Method, result: &Result<Answer, Fault>) {
        let uri = self.base.uri();
        let default = if uri.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
        span.set("http.request.method", method.to_string());
        span.set("server.address", uri.host().unwrap_or_default().to_owned());
        span.set("server.port", uri.port_u16().unwrap_or(default));
        match result {
            Ok(answer) => {
                span.set("http.response.status_code", answer.status.as_u16());
                if answer.status.is_client_error() || answer.status.is_server_error() {
                    span.fail(answer.status.as_str().to_owned());
                } else if let Err(fault) = &answer.body {
                    span.fail(fault.reason.to_string());
                }
            }
            Err(fault) => span.fail(fault.reason.to_string()),
        }
    }

    async fn exchange_once(&self, request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
        let deadline = Instant::now() + self.timeout;
        let sent = timeout_at(deadline, self.send(request)).await;
        let (response, sender) = sent.unwrap_or_else(|_| Err(self.timed_out()))?;

        let (head, body) = response.into_parts();
        let at = self.clock.now().wall;
        self.skew.note(&head.headers, at, self.base.uri());
        let is_good = head.status.is_success();
        let patience = Instant::now() + REFUSAL_PATIENCE;
        let until = if is_good { deadline } else { deadline.min(patience) };
        let body = timeout_at(until, read_body(&head.headers, body)).await;
        let body = body.unwrap_or_else(|_| {
            // The refusal was received; only its body is slow.
            if is_good { Err(self.timed_out()) } else { Err(TIMEOUT) }
        });
        if is_good && body.is_ok() {
            self.keep_idle(sender);
        }
        Ok(Answer { status: head.status, headers: head.headers, at, body })
    }

    /// Sends `request`, on an idle connection if one exists, and returns the response's head.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(http::Response<Incoming>, Sender), Fault> {
        if let Some(mut sender) = self.take_idle() {
            match sender.send_request(in_origin_form(&request)).await {
                Ok(response) => return Ok((response, sender)),
                // The upstream responded: a retry would be a second request.
                Err(error) if error.is_parse() => return Err(response_fault(&error)),
                // The upstream may have closed the idle connection.
                Err(_) => {}
            }
        }
        let mut sender = self.connector.connect().await?;
        let response = sender.send_request(in_origin_form(&request)).await;
        Ok((response.map_err(|error| response_fault(&error))?, sender))
    }

    /// The cause of a timeout may affect all idle connections.
    fn timed_out(&self) -> Fault {
        self.idle().clear();
        TIMEOUT
    }

    fn take_idle(&self) -> Option<Sender> {
        let now = self.clock.now().boot;
        let mut idle = self.idle();
        idle.retain(|idle| !idle.sender.is_closed() && now.since(idle.since) < IDLE_LIFE);
        idle.pop().map(|idle| idle.sender)
    }

    fn keep_idle(&self, sender: Sender) {
        let since = self.clock.now().boot;
        let mut idle = self.idle();
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(Idle { sender, since });
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("base", &self.base.to_string()).finish_non_exhaustive()
    }
}

/// A copy of `request` in HTTP/1.1 origin form: a path and a Host header.
fn in_origin_form(request: &Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let mut request = request.clone();
    if let Some(authority) = request.uri().authority() {
        // An authority is always a valid header value.
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            request.headers_mut().insert(header::HOST, host);
        }
    }
    if let Some(path) = request.uri().path_and_query().cloned() {
        *request.uri_mut() = path.into();
    }
    request
}

/// The fault of a request that was sent and got no response, or none that is HTTP.
fn response_fault(error: &hyper::Error) -> Fault {
    // With TLS 1.3, the upstream may refuse the client after the handshake.
    if let Some(error) = tls::tls_error(error) {
        return tls::fault(error);
    }
    let reason = if error.is_parse() { "MALFORMED_ANSWER" } else { "CONNECTION_LOST" };
    Fault::new(FaultClass::Transient, reason)
}

#[cfg(test)]
mod tests;
