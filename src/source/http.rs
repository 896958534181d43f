//! One HTTP exchange with an upstream, under the limits that every provider's source keeps:
//! 2 s in all, 64 KiB of body, no redirects, and one immediate retry where a pooled
//! connection turned out to be stale.

use std::{
    borrow::Cow,
    error::Error,
    fmt, io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use tower_service::Service;

use super::{FetchError, base_url::BaseUrl, dns::Resolver};
use crate::{
    clock::{Clock, WallTime},
    grant::{Fault, FaultClass},
};

/// How long an exchange may take: connect, TLS, headers and body.
pub const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(2);

const MAX_BODY_BYTES: usize = 64 * 1024;

/// Idle connections kept at the most.
const MAX_IDLE: usize = 8;

type Sender = http1::SendRequest<Full<Bytes>>;

/// Talks to one upstream over HTTP/1.1, with TLS unless it is on loopback.
pub struct HttpClient {
    base: BaseUrl,
    clock: Clock,
    connector: HttpsConnector<HttpConnector<Resolver>>,
    idle: Mutex<Vec<Sender>>,
}

/// There are no roots to verify an upstream's certificate with.
#[derive(Debug, thiserror::Error)]
#[error("no root certificates on this system: install the ca-certificates package")]
pub struct NoRoots(#[source] io::Error);

/// A good answer: 2xx and its body.
pub struct Answer {
    /// The body, whole.
    pub body: Bytes,
}

impl HttpClient {
    /// A client of the upstream at `base`.
    pub fn new(base: BaseUrl, clock: Clock) -> Result<Self, NoRoots> {
        let mut http = HttpConnector::new_with_resolver(Resolver::system());
        http.enforce_http(false);
        http.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(&base).map_err(NoRoots)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self { base, clock, connector, idle: Mutex::new(Vec::new()) })
    }

    /// The clock that anchors are read from.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The URL of `path` below the base.
    pub fn uri(&self, path: &str) -> Result<Uri, Fault> {
        self.base.below(path).ok_or(Fault::new(FaultClass::Misconfigured, "URL_INVALID"))
    }

    /// Sends `request` and takes the answer, whole, or tells the class of what went wrong.
    pub async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Answer, FetchError> {
        match tokio::time::timeout(EXCHANGE_TIMEOUT, self.attempt(request)).await {
            Ok(result) => result,
            Err(_) => Err(Fault::new(FaultClass::Transient, "TIMEOUT").into()),
        }
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
        let mut sender = self.connect().await?;
        let response = sender.send_request(in_origin_form(&request)).await;
        self.read(response.map_err(|error| unanswered(&error))?, sender).await
    }

    async fn connect(&self) -> Result<Sender, Fault> {
        let mut connector = self.connector.clone();
        let io = connector
            .call(self.base.uri().clone())
            .await
            .map_err(|error| connect_fault(&*error))?;
        let (sender, connection) = http1::handshake(io)
            .await
            .map_err(|_| Fault::new(FaultClass::Transient, "CONNECTION_LOST"))?;
        // It ends with its sender, or by an error that the sender sees too.
        tokio::spawn(connection);
        Ok(sender)
    }

    async fn read(
        &self,
        response: http::Response<Incoming>,
        sender: Sender,
    ) -> Result<Answer, FetchError> {
        let (head, body) = response.into_parts();
        if let Some(error) = refusal(head.status, &head.headers, self.clock.now().wall) {
            return Err(error);
        }
        if head.headers.contains_key(header::CONTENT_ENCODING) {
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
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|sender| !sender.is_closed());
        idle.pop()
    }

    fn keep_idle(&self, sender: Sender) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE && !sender.is_closed() {
            idle.push(sender);
        }
    }
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").field("base", &self.base.to_string()).finish_non_exhaustive()
    }
}

/// TLS as the system trusts it. A plain http upstream needs no roots, and is never upgraded.
fn tls(base: &BaseUrl) -> io::Result<rustls::ClientConfig> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let builder = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let builder = if base.is_https() {
        builder.with_native_roots()?
    } else {
        builder.with_root_certificates(rustls::RootCertStore::empty())
    };
    Ok(builder.with_no_client_auth())
}

/// A copy of `request` as HTTP/1.1 wants it: a path and a Host header.
fn in_origin_form(request: &Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    let mut request = request.clone();
    if let Some(authority) = request.uri().authority() {
        // An authority is always a valid header value.
        if let Ok(host) = http::HeaderValue::from_str(authority.as_str()) {
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
    let reason = if error.is_parse() { "MALFORMED_ANSWER" } else { "CONNECTION_LOST" };
    Fault::new(FaultClass::Transient, reason)
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
pub fn retry_after(value: &http::HeaderValue, now: WallTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    let at = at.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some((WallTime::from_unix_seconds(0) + at).since(now))
}

/// The fault behind an error of connecting: TLS verification is ours to mend, the rest heals.
fn connect_fault(error: &(dyn Error + 'static)) -> Fault {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return tls_fault(tls);
        }
        if error.is::<super::dns::LookupError>() {
            return Fault::new(FaultClass::Transient, "DNS_FAILED");
        }
        // An io::Error hides what it wraps from source().
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        cause = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    Fault::new(FaultClass::Transient, "CONNECT_FAILED")
}

fn tls_fault(error: &rustls::Error) -> Fault {
    match error {
        rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented => {
            Fault::new(FaultClass::Misconfigured, "TLS_CERTIFICATE_REFUSED")
        }
        rustls::Error::PeerIncompatible(_) => {
            Fault::new(FaultClass::Misconfigured, "TLS_INCOMPATIBLE")
        }
        _ => Fault::new(FaultClass::Transient, "TLS_HANDSHAKE_FAILED"),
    }
}
