//! One HTTP exchange with an upstream, under the limits that every provider's source keeps:
//! a time for all of it, 64 KiB of body, no redirects, and one immediate retry where a pooled
//! connection turned out to be stale.

mod answer;
mod connect;
mod tls;

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
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
};

/// How long an exchange may take unless its source says otherwise: connect, TLS, headers and
/// body.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long the body of a refusal is waited for after its head: it is mostly there already, and
/// what it adds is worth no more.
const REFUSAL_PATIENCE: Duration = Duration::from_millis(500);

/// Idle connections kept at the most.
const MAX_IDLE: usize = 8;

/// How long a connection is kept idle. A default refresh comes within 50 s; what stands between
/// here and the upstream often forgets a connection after a minute, and drops what is sent on
/// it without a word.
const IDLE_LIFE: Duration = Duration::from_secs(55);

const TIMEOUT: Fault = Fault::new(FaultClass::Transient, "TIMEOUT");

/// Talks to one upstream over HTTP/1.1, with TLS unless it is on loopback.
pub struct HttpClient {
    base: BaseUrl,
    clock: Clock,
    timeout: Duration,
    connector: Connector,
    idle: Mutex<Vec<Idle>>,
    skew: Skew,
}

/// A connection that waits for its next exchange.
struct Idle {
    sender: Sender,
    since: BootTime,
}

impl HttpClient {
    /// A client of the upstream at `base`, which is reached so and has `timeout` for each
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

    /// How many seconds the upstream's clock is ahead of ours, by the Date of its last answer.
    pub fn clock_skew(&self) -> Option<f64> {
        self.skew.seconds()
    }

    /// The URL of `path` below the base.
    pub fn uri(&self, path: &str) -> Result<Uri, Fault> {
        self.base.below(path).ok_or(Fault::new(FaultClass::Misconfigured, "URL_INVALID"))
    }

    /// Sends `request` and takes the answer of any status; what that means is for the source
    /// to say. Reading the body of a refusal never makes another failure of it.
    ///
    /// # Errors
    ///
    /// There is no answer, or what came is none: a fault of the way there, of TLS or of the
    /// connection; `TIMEOUT` where no head of an answer came in time.
    pub async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, Fault> {
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
            // A refusal was answered: only its body is slow.
            if is_good { Err(self.timed_out()) } else { Err(TIMEOUT) }
        });
        if is_good && body.is_ok() {
            self.keep_idle(sender);
        }
        Ok(Answer { status: head.status, headers: head.headers, at, body })
    }

    /// Sends `request`, on a kept connection where there is one, and takes the answer's head.
    async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(http::Response<Incoming>, Sender), Fault> {
        if let Some(mut sender) = self.take_idle() {
            match sender.send_request(in_origin_form(&request)).await {
                Ok(response) => return Ok((response, sender)),
                // It was answered: asking again would only be a second request.
                Err(error) if error.is_parse() => return Err(unanswered(&error)),
                // This may only mean that the upstream closed an idle connection.
                Err(_) => {}
            }
        }
        let mut sender = self.connector.connect().await?;
        let response = sender.send_request(in_origin_form(&request)).await;
        Ok((response.map_err(|error| unanswered(&error))?, sender))
    }

    /// What lost this connection may have lost them all.
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

/// A copy of `request` as HTTP/1.1 wants it: a path and a Host header.
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

/// The fault of a request that was sent and got no answer, or none that is HTTP.
fn unanswered(error: &hyper::Error) -> Fault {
    // With TLS 1.3 the upstream may refuse us after the handshake.
    if let Some(error) = tls::behind(error) {
        return tls::fault(error);
    }
    let reason = if error.is_parse() { "MALFORMED_ANSWER" } else { "CONNECTION_LOST" };
    Fault::new(FaultClass::Transient, reason)
}

#[cfg(test)]
mod tests;
