//! What lies around every call: its deadline, the time in which its request must come, a net
//! under panics, and the count of how it ended and how long it took.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, body::Body};
use tower_service::Service;

use super::{request_body::RequestBody, status};
use crate::{
    auth::peer::Peer,
    telemetry::{Metrics, RpcMetrics},
};

/// The deadline of a unary call that has none.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(12);

/// How long a request may take to come whole, whatever the call's deadline.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than any call takes: a deadline that is no further off counts as past.
const NO_TIME: Duration = Duration::from_micros(1);

/// Where a call comes from and how long it may take, among its request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Its deadline; none for a stream without one.
    pub(super) deadline: Option<Instant>,
    /// The other end of its connection.
    #[expect(dead_code, reason = "what a caller may do follows")]
    pub(super) peer: Arc<Peer>,
}

impl Origin {
    /// That of `request`; none where it came through no layer.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Option<&Self> {
        request.extensions().get()
    }
}

/// A call's deadline; none for a stream without one.
pub(super) fn deadline_of<T>(request: &tonic::Request<T>) -> Option<Instant> {
    Origin::of(request)?.deadline
}

/// The methods that are counted, as (gRPC type, service, method).
const METHODS: [(&str, &str, &str); 9] = [
    ("unary", super::TOKEN_SERVICE, "MintToken"),
    ("server_stream", super::TOKEN_SERVICE, "MintTokens"),
    ("unary", super::GRANT_SERVICE, "GetGrant"),
    ("unary", super::GRANT_SERVICE, "ListGrants"),
    ("server_stream", super::GRANT_SERVICE, "WatchGrants"),
    ("unary", "grpc.health.v1.Health", "Check"),
    ("server_stream", "grpc.health.v1.Health", "Watch"),
    ("bidi_stream", "grpc.reflection.v1.ServerReflection", "ServerReflectionInfo"),
    ("bidi_stream", "grpc.reflection.v1alpha.ServerReflection", "ServerReflectionInfo"),
];

/// The codes by number, as dashboards know them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

#[derive(Debug)]
struct Method {
    unary: bool,
    /// Whether it takes one request, not a stream of them.
    one_request: bool,
    metrics: RpcMetrics,
}

/// A service with its layers, for all connections.
#[derive(Clone, Debug)]
pub struct Layers<S> {
    inner: S,
    methods: Methods,
}

/// A service with a deadline, a net and a count around each call of one connection.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    methods: Methods,
    peer: Arc<Peer>,
}

#[derive(Clone, Debug)]
struct Methods {
    by_path: Arc<HashMap<String, Arc<Method>>>,
    /// Whatever is not a method of ours: its name must not become a label.
    unknown: Arc<Method>,
}

impl<S> Layers<S> {
    /// `inner` with its layers.
    #[must_use]
    pub fn new(inner: S, metrics: &Metrics) -> Self {
        Self { inner, methods: Methods::new(metrics) }
    }
}

impl<S: Clone> Layers<S> {
    /// The service of a connection with `peer`.
    #[must_use]
    pub fn around(&self, peer: Peer) -> Guarded<S> {
        Guarded { inner: self.inner.clone(), methods: self.methods.clone(), peer: Arc::new(peer) }
    }
}

impl Methods {
    fn new(metrics: &Metrics) -> Self {
        let method = |kind: &str, service: &str, name: &str| {
            let metrics = metrics.rpc(kind, service, name, &CODES);
            let (unary, one_request) = (kind == "unary", kind != "bidi_stream");
            Arc::new(Method { unary, one_request, metrics })
        };
        let methods = METHODS.into_iter().map(|(kind, service, name)| {
            (format!("/{service}/{name}"), method(kind, service, name))
        });
        Self {
            by_path: Arc::new(methods.collect()),
            unknown: method("unary", "unknown", "unknown"),
        }
    }

    fn find(&self, path: &str) -> &Arc<Method> {
        self.by_path.get(path).unwrap_or(&self.unknown)
    }
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<GuardedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let method = self.methods.find(request.uri().path());
        let now = Instant::now();
        let ending = Ending::begin(Arc::clone(method), now);
        let asked = timeout_asked(request.headers());
        let deadline = match asked {
            None if ending.method.unary => Some(DEFAULT_DEADLINE),
            asked => asked,
        };
        let deadline = deadline.and_then(|timeout| now.checked_add(timeout));
        let peer = Arc::clone(&self.peer);
        request.extensions_mut().insert(Origin { deadline, peer });
        if ending.method.unary && deadline.is_some_and(|deadline| deadline <= now + NO_TIME) {
            // Nobody waits for what it would do. A stream says itself how far it got.
            let mut ending = ending;
            let response = refuse(status::deadline_exceeded(None));
            ending.note(response.headers());
            return Box::pin(async { Ok(response.map(|body| GuardedBody { body, ending })) });
        }
        let due = ending.method.one_request.then(|| now + REQUEST_TIMEOUT);
        let request = request.map(|body| RequestBody::new(body, due));
        // A handler may panic before its first await, and after.
        let call = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        Box::pin(async move {
            let response = match call {
                Ok(call) => answer(call, deadline).await,
                Err(_) => refuse(status::unexpected()),
            };
            let mut ending = ending;
            ending.note(response.headers());
            Ok(response.map(|body| GuardedBody { body, ending }))
        })
    }
}

async fn answer<F>(call: F, deadline: Option<Instant>) -> Response<Body>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    let call = AssertUnwindSafe(call).catch_unwind();
    let answered = match deadline {
        Some(deadline) => timeout_at(deadline, call).await,
        None => Ok(call.await),
    };
    match answered {
        Ok(Ok(Ok(response))) => response,
        Ok(Err(_)) => refuse(status::unexpected()),
        Err(_) => refuse(status::deadline_exceeded(None)),
    }
}

fn refuse(status: Status) -> Response<Body> {
    status.into_http()
}

/// The caller's `grpc-timeout`: at most eight digits and a unit. A malformed one counts as
/// absent.
fn timeout_asked(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(value * 3_600)),
        "M" => Some(Duration::from_secs(value * 60)),
        "S" => Some(Duration::from_secs(value)),
        "m" => Some(Duration::from_millis(value)),
        "u" => Some(Duration::from_micros(value)),
        "n" => Some(Duration::from_nanos(value)),
        _ => None,
    }
}

/// Counts a call's end once, with its time: by its status, or as cancelled where none was
/// sent.
struct Ending {
    method: Arc<Method>,
    began: Instant,
    code: Code,
}

impl Ending {
    fn begin(method: Arc<Method>, began: Instant) -> Self {
        method.metrics.started();
        Self { method, began, code: Code::Cancelled }
    }

    fn note(&mut self, headers: &HeaderMap) {
        if let Some(status) = Status::from_header_map(headers) {
            self.code = status.code();
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.method.metrics.handled(self.code as usize, self.began.elapsed());
    }
}

/// A response's body with a net under panics and an eye on its status.
pub struct GuardedBody {
    body: Body,
    ending: Ending,
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.body).poll_frame(cx)));
        let Ok(polled) = polled else {
            this.body = Body::empty();
            this.ending.code = Code::Internal;
            return Poll::Ready(trailers(&status::unexpected()));
        };
        let frame = ready!(polled);
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            this.ending.note(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn trailers(status: &Status) -> Option<Result<Frame<Bytes>, Status>> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).ok()?;
    Some(Ok(Frame::trailers(trailers)))
}
