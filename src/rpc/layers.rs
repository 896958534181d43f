//! What lies around every call: its deadline, the time in which its request must arrived, a net
//! under panics, whether its caller may call the method at all, and the count of how it ended
//! and how long it took.

mod count;
mod deadline;
mod net;

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Buf;
use http::{HeaderMap, HeaderName, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use tokio::time::{Instant, timeout};
use tonic::{Status, body::Body};
use tower_service::Service;

pub use self::net::GuardedBody;
use self::{
    count::{Ending, Methods},
    net::{answer, refuse},
};
use super::{
    access::Access, caller::Caller, methods::Rule, not_grpc, request_body::RequestBody, status,
};
use crate::{
    audit::{Audit, CallInfo},
    auth::{
        bearer::{Bearer, Bearers, Cause, Waiting},
        callers::Callers,
        method::Method,
        peer::Peer,
        refusal::Denied,
    },
    drain::lifetime::Lifetime,
    telemetry::Metrics,
};

/// How long a request may take to come whole, whatever the call's deadline.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a message that nobody will read is waited for.
const UNREAD_PATIENCE: Duration = Duration::from_millis(100);

/// As much of it as is read.
const UNREAD_BYTES: usize = 64 * 1024;

/// Fields of a request's header. Each takes memory while the call waits.
const MOST_HEADERS: usize = 64;

/// As many as are kept as they are: an ordinary client sends fewer.
const FEW_HEADERS: usize = 16;

/// Marks the answer to a call whose bearer token cannot be verified now.
#[derive(Clone, Copy, Debug)]
pub struct Unverifiable;

/// Drops the fields that are no longer needed, the bearer token among them.
fn keep_needed(headers: &mut HeaderMap) {
    let needed = [header::CONTENT_TYPE, header::TE, HeaderName::from_static("grpc-encoding")];
    let kept = needed.into_iter().filter_map(|name| {
        let value = headers.remove(&name)?;
        Some((name, value))
    });
    *headers = kept.collect();
}

/// Where a call comes from and how long it may take, among its request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Its deadline; none for a stream without one.
    pub(super) deadline: Option<Instant>,
    /// Its caller.
    pub(super) access: Access,
    /// The life of its connection.
    pub(super) lifetime: Lifetime,
}

impl Origin {
    /// Takes that of `request`.
    ///
    /// # Errors
    ///
    /// It came through no layer, which is a bug: it is not served.
    pub(super) fn take<T>(request: &mut tonic::Request<T>) -> Result<Self, Status> {
        request.extensions_mut().remove().ok_or_else(status::unexpected)
    }
}

/// A service with its layers, for all connections.
#[derive(Clone, Debug)]
pub struct Layers<S> {
    inner: S,
    methods: Methods,
    callers: Arc<Callers>,
    bearers: Arc<Bearers>,
    audit: Option<Audit>,
}

/// A service with its layers around each call of one connection.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    methods: Methods,
    callers: Arc<Callers>,
    bearers: Arc<Bearers>,
    peer: Arc<Peer>,
    lifetime: Lifetime,
    audit: Option<Audit>,
}

impl<S> Layers<S> {
    /// `inner` with its layers, for these callers.
    #[must_use]
    pub fn new(inner: S, callers: Arc<Callers>, bearers: Arc<Bearers>, metrics: &Metrics) -> Self {
        Self { inner, methods: Methods::new(metrics), callers, bearers, audit: None }
    }

    /// The same with its calls recorded in this log, if any.
    #[must_use]
    pub fn recorded_in(self, audit: Option<Audit>) -> Self {
        Self { audit, ..self }
    }
}

impl<S: Clone> Layers<S> {
    /// The service of a connection with `peer`, for its lifetime.
    #[must_use]
    pub fn around(&self, peer: Peer, lifetime: Lifetime) -> Guarded<S> {
        Guarded {
            inner: self.inner.clone(),
            methods: self.methods.clone(),
            callers: Arc::clone(&self.callers),
            bearers: Arc::clone(&self.bearers),
            peer: Arc::new(peer),
            lifetime,
            audit: self.audit.clone(),
        }
    }
}

/// A call that has arrived, before its caller is known.
struct Arrived {
    ending: Ending,
    rule: Rule,
    at: Instant,
    deadline: Option<Instant>,
}

/// What a call is answered by.
type Answering = Pin<Box<dyn Future<Output = Result<Response<GuardedBody>, Infallible>> + Send>>;

impl<S> Guarded<S> {
    /// The right of a caller to call a method with this rule.
    fn admit(&self, caller: Caller, rule: Rule) -> Result<Access, Denied> {
        let admitted = Access::admit(&self.callers, caller, rule, self.audit.as_ref());
        if let Err(Denied::Unauthenticated(Cause::NoCredential)) = &admitted {
            self.bearers.record_no_credential(&self.peer);
        }
        admitted
    }

    /// Refuses a call by the bearer token that it carries.
    fn deny<B>(&self, arrived: Arrived, denied: &Denied, unread: B) -> Answering
    where
        B: HttpBody + Send + 'static,
    {
        self.callers.count_nobody(denied);
        if let (Some(audit), Denied::Unverifiable { .. }) = (&self.audit, denied) {
            let method = arrived.rule.method().map(Method::as_str);
            let who = CallInfo { caller: None, entry: None, peer: self.peer.from, method };
            audit.refused(&who, denied.reason());
        }
        let mut response = refuse(status::denied(denied, None, arrived.deadline));
        if matches!(denied, Denied::Unverifiable { .. }) {
            response.extensions_mut().insert(Unverifiable);
        }
        answered(arrived.ending, response, unread)
    }
}

/// Answers a call whose message is not needed, once the message has arrived or has taken too long.
/// HTTP/2 counts each message that nobody reads against its connection, and so against the other
/// calls there.
fn answered<B>(mut ending: Ending, response: Response<Body>, unread: B) -> Answering
where
    B: HttpBody + Send + 'static,
{
    ending.note(response.headers());
    Box::pin(async move {
        let _ = timeout(UNREAD_PATIENCE, drop_message(unread)).await;
        Ok(response.map(|body| GuardedBody { body, ending }))
    })
}

/// Reads a message of ordinary size and drops it.
async fn drop_message<B: HttpBody>(body: B) {
    let (mut body, mut left) = (pin!(body), UNREAD_BYTES);
    while let Some(Ok(frame)) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let bytes = frame.data_ref().map_or(0, Buf::remaining);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

impl<S, B> Service<Request<B>> for Guarded<S>
where
    S: Service<Request<RequestBody<B>>, Response = Response<Body>, Error = Infallible>,
    S: Clone + Send + 'static,
    S::Future: Send + 'static,
    B: HttpBody + Send + 'static,
{
    type Response = Response<GuardedBody>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let method = self.methods.find(request.uri().path());
        let at = Instant::now();
        let ending = Ending::begin(Arc::clone(method), at);
        let asked = deadline::asked(request.headers());
        let deadline = match asked {
            None if ending.method.unary => Some(deadline::DEFAULT),
            asked => asked,
        };
        let deadline = deadline.and_then(|timeout| at.checked_add(timeout));
        if let Some(refusal) = not_grpc(&request) {
            return answered(ending, refusal, request.into_body());
        }
        if request.headers().len() > MOST_HEADERS {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            let refusal = status::not_grpc(status, "too many header fields");
            return answered(ending, refusal, request.into_body());
        }
        let Some(rule) = ending.method.rule else {
            return answered(ending, refuse(status::unknown_method()), request.into_body());
        };
        let arrived = Arrived { ending, rule, at, deadline };
        let bearer = self.bearers.of(request.headers(), &self.peer);
        if request.headers().len() > FEW_HEADERS || !matches!(bearer, Bearer::None) {
            keep_needed(request.headers_mut());
        }
        match bearer {
            Bearer::None => self.answer(request, arrived, Caller::Peer(Arc::clone(&self.peer))),
            Bearer::Verified(session) => {
                let caller = Caller::bearer(session, &self.lifetime);
                self.answer(request, arrived, caller)
            }
            Bearer::Refused(denied) => self.deny(arrived, &denied, request.into_body()),
            Bearer::Waiting(waiting) => {
                // The service that was polled ready answers; its clone is polled again.
                let mut ready = self.clone();
                std::mem::swap(&mut ready.inner, &mut self.inner);
                Box::pin(ready.wait(request, arrived, waiting))
            }
        }
    }
}

impl<S> Guarded<S> {
    /// Answers a call whose caller is known only when a key has arrived.
    async fn wait<B>(
        mut self,
        request: Request<B>,
        arrived: Arrived,
        waiting: Waiting,
    ) -> Result<Response<GuardedBody>, Infallible>
    where
        B: HttpBody + Send + 'static,
        S: Service<Request<RequestBody<B>>, Response = Response<Body>, Error = Infallible>,
        S::Future: Send + 'static,
    {
        match waiting.verified(arrived.deadline).await {
            Ok(session) => {
                let caller = Caller::bearer(session, &self.lifetime);
                self.answer(request, arrived, caller).await
            }
            Err(denied) => self.deny(arrived, &denied, request.into_body()).await,
        }
    }

    /// Answers a call of this caller.
    fn answer<B>(&mut self, mut request: Request<B>, arrived: Arrived, caller: Caller) -> Answering
    where
        B: HttpBody + Send + 'static,
        S: Service<Request<RequestBody<B>>, Response = Response<Body>, Error = Infallible>,
        S::Future: Send + 'static,
    {
        let access = match self.admit(caller, arrived.rule) {
            Ok(access) => access,
            Err(denied) => {
                let refusal = refuse(status::denied(&denied, None, arrived.deadline));
                return answered(arrived.ending, refusal, request.into_body());
            }
        };
        let Arrived { ending, at, deadline, .. } = arrived;
        // Nobody waits for what it would do. A stream says itself how far it got.
        if ending.method.unary && deadline.is_some_and(|it| it <= at + deadline::NO_TIME) {
            let refusal = refuse(status::deadline_exceeded(None));
            return answered(ending, refusal, request.into_body());
        }
        let lifetime = self.lifetime.clone();
        request.extensions_mut().insert(Origin { deadline, access, lifetime });
        let due = ending.method.one_request.then(|| at + REQUEST_TIMEOUT);
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
