//! One HTTP exchange with an upstream, under the limits that every provider's source keeps:
//! 2 s in all, 64 KiB of body, no redirects, and one immediate retry where a pooled
//! connection turned out to be stale.

mod connect;
mod tls;

use std::{
    borrow::Cow,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;

use self::connect::{Connector, Sender};
use super::{
    FetchError,
    base_url::BaseUrl,
    dns::Resolver,
    skew::{Skew, http_date},
};
use crate::{
    clock::{BootTime, Clock, WallTime},
    egress::Egress,
    grant::{Fault, FaultClass},
};

/// How long an exchange may take: connect, TLS, headers and body.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);

const MAX_BODY_BYTES: usize = 64 * 1024;

/// Idle connections kept at the most.
const MAX_IDLE: usize = 8;

/// How long a connection is kept idle. A default refresh comes within 50 s; what stands between
/// here and the upstream often forgets a connection after a minute, and drops what is sent on
/// it without a word.
const IDLE_LIFE: Duration = Duration::from_secs(55);

/// Talks to one upstream over HTTP/1.1, with TLS unless it is on loopback.
pub struct HttpClient {
    base: BaseUrl,
    clock: Clock,
    connector: Connector,
    idle: Mutex<Vec<Idle>>,
    skew: Skew,
}

/// A connection that waits for its next exchange.
struct Idle {
    sender: Sender,
    since: BootTime,
}

/// A good answer: 2xx and its body.
pub struct Answer {
    /// The body, whole.
    pub body: Bytes,
}

impl HttpClient {
    /// A client of the upstream at `base`, which is reached so.
    pub fn new(base: BaseUrl, egress: &Egress, clock: Clock) -> Self {
        Self::with(base, egress, clock, Resolver::system())
    }

    fn with(base: BaseUrl, egress: &Egress, clock: Clock, resolver: Resolver) -> Self {
        let connector = Connector::new(base.uri().clone(), egress, resolver);
        let idle = Mutex::default();
        Self { base, clock, connector, idle, skew: Skew::default() }
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

    /// Sends `request` and takes the answer, whole, or tells the class of what went wrong.
    pub async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, FetchError> {
        let attempted = tokio::time::timeout(EXCHANGE_TIMEOUT, self.attempt(request)).await;
        attempted.unwrap_or_else(|_| {
            // What lost this connection may have lost them all.
            self.idle().clear();
            Err(Fault::new(FaultClass::Transient, "TIMEOUT").into())
        })
    }

    async fn attempt(&self, request: Request<Full<Bytes>>) -> Result<Answer, FetchError> {
        if let Some(mut sender) = self.take_idle() {
            match sender.send_request(in_origin_form(&request)).await {
                Ok(response) => return self.read(response, sender).await,
                // It was answered: asking again would only be a second request.
                Err(error) if error.is_parse() => return Err(unanswered(&error).into()),
                // This may only mean that the upstream closed an idle connection.
                Err(_) => {}
            }
        }
        let mut sender = self.connector.connect().await?;
        let response = sender.send_request(in_origin_form(&request)).await;
        self.read(response.map_err(|error| unanswered(&error))?, sender).await
    }

    async fn read(
        &self,
        response: http::Response<Incoming>,
        sender: Sender,
    ) -> Result<Answer, FetchError> {
        let (head, body) = response.into_parts();
        let now = self.clock.now().wall;
        self.skew.note(&head.headers, now, self.base.uri());
        if let Some(error) = refusal(head.status, &head.headers, now) {
            return Err(error);
        }
        // Two lengths are how one answer becomes two.
        if head.headers.contains_key(header::TRANSFER_ENCODING)
            && head.headers.contains_key(header::CONTENT_LENGTH)
        {
            return Err(Fault::new(FaultClass::Transient, "MALFORMED_ANSWER").into());
        }
        if is_encoded(&head.headers) {
            return Err(Fault::new(FaultClass::Transient, "ENCODED_ANSWER").into());
        }
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await.map_err(|error| {
            let reason = if error.is::<http_body_util::LengthLimitError>() {
                "ANSWER_TOO_LARGE"
            } else {
                "CONNECTION_LOST"
            };
            Fault::new(FaultClass::Transient, reason)
        })?;
        self.keep_idle(sender);
        Ok(Answer { body: body.to_bytes() })
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

/// Whether the body is something else than what was meant to be sent.
fn is_encoded(headers: &HeaderMap) -> bool {
    let none: [(_, &[&str]); 2] = [
        (header::CONTENT_ENCODING, &["", "identity"]),
        (header::TRANSFER_ENCODING, &["", "identity", "chunked"]),
    ];
    none.into_iter().any(|(name, none)| {
        let values = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
        let mut codings = values.flat_map(|value| value.split(|byte| *byte == b','));
        codings.any(|coding| {
            let coding = coding.trim_ascii();
            !none.iter().any(|none| coding.eq_ignore_ascii_case(none.as_bytes()))
        })
    })
}

/// The error that an answer's status means; none for 2xx.
fn refusal(status: StatusCode, headers: &HeaderMap, now: WallTime) -> Option<FetchError> {
    let retry_after = headers.get(header::RETRY_AFTER).and_then(|value| retry_after(value, now));
    let class = match status.as_u16() {
        200..=299 => return None,
        300..=399 => FaultClass::Misconfigured,
        401 | 403 => FaultClass::Credential,
        429 => FaultClass::Throttled,
        503 if retry_after.is_some() => FaultClass::Throttled,
        408 => FaultClass::Transient,
        400..=499 => FaultClass::Resource,
        _ => FaultClass::Transient,
    };
    let fault = Fault {
        class,
        reason: Cow::Owned(format!("HTTP_STATUS_{}", status.as_u16())),
        not_found: matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE),
    };
    let retry_after = retry_after.filter(|_| class == FaultClass::Throttled);
    Some(FetchError::Failed { fault, retry_after })
}

/// A Retry-After value as time from `now`: whole seconds or an HTTP date; anything else
/// counts as absent.
pub fn retry_after(value: &HeaderValue, now: WallTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    Some(http_date(value)?.since(now))
}

#[cfg(test)]
mod tests;
