//! What lies around every call: its deadline, the time in which its request must come, a net
//! under panics, whether its caller may call the method at all, and the count of how it ended
//! and how long it took.

mod count;
mod deadline;
mod net;

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response};
use tokio::time::Instant;
use tonic::{Status, body::Body};
use tower_service::Service;

pub use self::net::GuardedBody;
use self::{
    count::{Ending, Methods},
    net::{answer, refuse},
};
use super::{access::Access, methods::Rule, not_grpc, request_body::RequestBody, status};
use crate::{
    audit::Audit,
    auth::{callers::Callers, peer::Peer},
    drain::lifetime::Lifetime,
    telemetry::Metrics,
};

/// How long a request may take to come whole, whatever the call's deadline.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

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
    audit: Option<Audit>,
}

/// A service with its layers around each call of one connection.
#[derive(Clone, Debug)]
pub struct Guarded<S> {
    inner: S,
    methods: Methods,
    callers: Arc<Callers>,
    peer: Arc<Peer>,
    lifetime: Lifetime,
    audit: Option<Audit>,
}

impl<S> Layers<S> {
    /// `inner` with its layers, for these callers.
    #[must_use]
    pub fn new(inner: S, callers: Arc<Callers>, metrics: &Metrics) -> Self {
        Self { inner, methods: Methods::new(metrics), callers, audit: None }
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
            peer: Arc::new(peer),
            lifetime,
            audit: self.audit.clone(),
        }
    }
}

impl<S> Guarded<S> {
    /// The caller of a method with this rule; of what has none, there is none.
    fn admit<B>(
        &self,
        request: &Request<B>,
        rule: Option<Rule>,
    ) -> Result<Access, Box<Response<Body>>> {
        if let Some(refusal) = not_grpc(request) {
            return Err(Box::new(refusal));
        }
        let Some(rule) = rule else { return Err(refuse(status::unknown_method()).into()) };
        let access = Access::admit(&self.callers, &self.peer, rule, self.audit.as_ref());
        access.map_err(|denied| refuse(status::denied(&denied, None)).into())
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
        let asked = deadline::asked(request.headers());
        let deadline = match asked {
            None if ending.method.unary => Some(deadline::DEFAULT),
            asked => asked,
        };
        let deadline = deadline.and_then(|timeout| now.checked_add(timeout));
        let is_late = deadline.is_some_and(|deadline| deadline <= now + deadline::NO_TIME);
        let access = match self.admit(&request, ending.method.rule) {
            // Nobody waits for what it would do. A stream says itself how far it got.
            Ok(_) if ending.method.unary && is_late => {
                Err(refuse(status::deadline_exceeded(None)).into())
            }
            admitted => admitted,
        };
        let access = match access {
            Ok(access) => access,
            Err(response) => {
                let mut ending = ending;
                ending.note(response.headers());
                return Box::pin(async { Ok(response.map(|body| GuardedBody { body, ending })) });
            }
        };
        request.extensions_mut().insert(Origin {
            deadline,
            access,
            lifetime: self.lifetime.clone(),
        });
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
