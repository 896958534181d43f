//! The layers around every call: its deadline, the time limit for receiving its request, a panic
//! guard, the check whether its caller may call the method at all, and the metrics of its outcome
//! and duration.

mod count;
mod deadline;
mod panic_guard;

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

pub use self::panic_guard::GuardedBody;
use self::{
    count::{Ending, Methods},
    panic_guard::{refuse, response_of},
};
use super::{
    access::Access, caller::Caller, methods::Rule, not_grpc, request_body::RequestBody, status,
};
use crate::{
    audit::{Audit, CallInfo},
    auth::{
        bearer::{Bearer, Bearers, Waiting},
        callers::Callers,
        cause::Cause,
        method::Method,
        peer::Peer,
        refusal::Denied,
    },
    drain::lifetime::Lifetime,
    telemetry::{
        Metrics,
        trace::{CallTrace, Traced, Tracer},
    },
};

/// How long a request may take to arrive completely, whatever the call's deadline.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an unread message is waited for.
const UNREAD_TIMEOUT: Duration = Duration::from_millis(100);

/// How much of an unread message is read.
const UNREAD_BYTES: usize = 64 * 1024;

/// Header fields of a request. Each takes memory while the call waits.
const MAX_HEADERS: usize = 64;

/// Up to this many fields are left as they are: an ordinary client sends fewer.
const USUAL_HEADERS: usize = 16;

/// Marks the response to a call whose bearer token cannot be verified now.
#[derive(Clone, Copy, Debug)]
pub struct Unverifiable;

/// Drops the fields that are no longer needed, including the bearer token.
fn keep_needed(headers: &mut HeaderMap) {
    let needed = [header::CONTENT_TYPE, header::TE, HeaderName::from_static("grpc-encoding")];
    let kept = needed.into_iter().filter_map(|name| {
        let value = headers.remove(&name)?;
        Some((name, value))
    });
    *headers = kept.collect();
}

/// A call's caller and time limits, stored in the request's extensions.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// The deadline; none for a stream without one.
    pub(super) deadline: Option<Instant>,
    /// The caller.
    pub(super) access: Access,
    /// The lifetime of the connection.
    pub(super) lifetime: Lifetime,
}

impl Origin {
    /// Takes the origin of `request`.
    ///
    /// # Errors
    ///
    /// The request passed through no layer, which is a bug; it is not served.
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
    tracer: Tracer,
}

/// A service with its layers, for one connection.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    methods: Methods,
    callers: Arc<Callers>,
    bearers: Arc<Bearers>,
    peer: Arc<Peer>,
    lifetime: Lifetime,
    audit: Option<Audit>,
    tracer: Tracer,
}

impl<S> Layers<S> {
    /// Wraps `inner` for these callers.
    #[must_use]
    pub fn new(inner: S, callers: Arc<Callers>, bearers: Arc<Bearers>, metrics: &Metrics) -> Self {
        let (methods, tracer) = (Methods::new(metrics), Tracer::default());
        Self { inner, methods, callers, bearers, audit: None, tracer }
    }

    /// The same, with calls recorded in this log, if there is one.
    #[must_use]
    pub fn recorded_in(self, audit: Option<Audit>) -> Self {
        Self { audit, ..self }
    }

    /// The same, with calls traced.
    #[must_use]
    pub fn traced_by(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }
}

impl<S: Clone> Layers<S> {
    /// The service of a connection with `peer`, for the lifetime of the connection.
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
            tracer: self.tracer.clone(),
        }
    }
}

/// A received call whose caller is not known yet.
struct ArrivedCall {
    ending: Ending,
    rule: Rule,
    at: Instant,
    deadline: Option<Instant>,
}

/// The future of a call's response.
type ResponseFuture =
    Pin<Box<dyn Future<Output = Result<Response<GuardedBody>, Infallible>> + Send>>;

impl<S> Guarded<S> {
    /// Checks whether a caller may call a method with this rule.
    fn admit(&self, caller: Caller, rule: Rule) -> Result<Access, Denied> {
        let admitted = Access::admit(&self.callers, caller, rule, self.audit.as_ref());
        if let Err(Denied::Unauthenticated(Cause::NoCredential)) = &admitted {
            self.bearers.record_no_credential(&self.peer);
        }
        admitted
    }

    /// Denies a call because of its bearer token.
    fn deny<B>(&self, arrived: ArrivedCall, denied: &Denied, unread: B) -> ResponseFuture
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
        respond(arrived.ending, response, unread)
    }
}

/// Responds to a call whose message is not needed, once the message was received or took too long.
/// HTTP/2 counts each unread message against its connection, and so against the other calls on it.
fn respond<B>(mut ending: Ending, response: Response<Body>, unread: B) -> ResponseFuture
where
    B: HttpBody + Send + 'static,
{
    ending.note(response.headers());
    Box::pin(async move {
        let _ = timeout(UNREAD_TIMEOUT, drop_message(unread)).await;
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
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(trace) = self.tracer.call(request.headers()) else {
            return self.respond_to(request, None);
        };
        let context = trace.context.clone();
        let entered = context.enter();
        let response = self.respond_to(request, Some(Box::new(trace)));
        drop(entered);
        Box::pin(Traced::new(context, response))
    }
}

impl<S> Guarded<S> {
    /// Checks a call and serves it.
    fn respond_to<B>(
        &mut self,
        mut request: Request<B>,
        trace: Option<Box<CallTrace>>,
    ) -> ResponseFuture
    where
        S: Service<Request<RequestBody<B>>, Response = Response<Body>, Error = Infallible>,
        S: Clone + Send + 'static,
        S::Future: Send + 'static,
        B: HttpBody + Send + 'static,
    {
        let method = self.methods.find(request.uri().path());
        let at = Instant::now();
        let ending = Ending::begin(Arc::clone(method), at, trace);
        let requested = deadline::requested(request.headers());
        let deadline = match requested {
            None if ending.method.unary => Some(deadline::DEFAULT),
            requested => requested,
        };
        let deadline = deadline.and_then(|timeout| at.checked_add(timeout));
        if let Some(refusal) = not_grpc(&request) {
            return respond(ending, refusal, request.into_body());
        }
        if request.headers().len() > MAX_HEADERS {
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            let refusal = status::not_grpc(status, "too many header fields");
            return respond(ending, refusal, request.into_body());
        }
        let Some(rule) = ending.method.rule else {
            return respond(ending, refuse(status::unknown_method()), request.into_body());
        };
        let arrived = ArrivedCall { ending, rule, at, deadline };
        let bearer = self.bearers.of(request.headers(), &self.peer);
        if request.headers().len() > USUAL_HEADERS || !matches!(bearer, Bearer::None) {
            keep_needed(request.headers_mut());
        }
        match bearer {
            Bearer::None => self.serve(request, arrived, Caller::Peer(Arc::clone(&self.peer))),
            Bearer::Verified(session) => {
                let caller = Caller::bearer(session, &self.lifetime);
                self.serve(request, arrived, caller)
            }
            Bearer::Refused(denied) => self.deny(arrived, &denied, request.into_body()),
            Bearer::Waiting(waiting) => {
                // The service that was polled ready serves the call; its clone is polled again.
                let mut ready = self.clone();
                std::mem::swap(&mut ready.inner, &mut self.inner);
                Box::pin(ready.wait(request, arrived, waiting))
            }
        }
    }

    /// Serves a call whose caller is known only once a key was fetched.
    async fn wait<B>(
        mut self,
        request: Request<B>,
        arrived: ArrivedCall,
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
                self.serve(request, arrived, caller).await
            }
            Err(denied) => self.deny(arrived, &denied, request.into_body()).await,
        }
    }

    /// Serves a call of this caller.
    fn serve<B>(
        &mut self,
        mut request: Request<B>,
        arrived: ArrivedCall,
        caller: Caller,
    ) -> ResponseFuture
    where
        B: HttpBody + Send + 'static,
        S: Service<Request<RequestBody<B>>, Response = Response<Body>, Error = Infallible>,
        S::Future: Send + 'static,
    {
        let access = match self.admit(caller, arrived.rule) {
            Ok(access) => access,
            Err(denied) => {
                let refusal = refuse(status::denied(&denied, None, arrived.deadline));
                return respond(arrived.ending, refusal, request.into_body());
            }
        };
        let ArrivedCall { ending, at, deadline, .. } = arrived;
        // The deadline has passed, so nobody waits for the result. A stream reports its own
        // progress.
        if ending.method.unary && deadline.is_some_and(|it| it <= at + deadline::NO_TIME) {
            let refusal = refuse(status::deadline_exceeded(None));
            return respond(ending, refusal, request.into_body());
        }
        let lifetime = self.lifetime.clone();
        request.extensions_mut().insert(Origin { deadline, access, lifetime });
        let due = ending.method.one_request.then(|| at + REQUEST_TIMEOUT);
        let request = request.map(|body| RequestBody::new(body, due));
        // A handler may panic before its first await, and after.
        let call = catch_unwind(AssertUnwindSafe(|| self.inner.call(request)));
        Box::pin(async move {
            let response = match call {
                Ok(call) => response_of(call, deadline).await,
                Err(_) => refuse(status::unexpected()),
            };
            let mut ending = ending;
            ending.note(response.headers());
            Ok(response.map(|body| GuardedBody { body, ending }))
        })
    }
}
