//! The way of a request through the sandbox: it passes the concurrency ceiling, meets the
//! script's fault if one is for it, and then is answered by the endpoint that it is for.

use std::{
    cmp::Reverse,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;

use super::{
    answer::{Answer, Outcome},
    config::Config,
    counters::{Entry, Ledger},
    delivery::{Body, KeepAlive, Reset},
    endpoint::{Endpoint, Flaw, Moment, Nothing, Random, Recognised, Served, bodies},
    fault::{BadBody, Effect, Fault, RetryAfter},
    script::{Asked, Script},
};
use crate::clock::{BootTime, Clock};

const MAX_BODY_BYTES: usize = 64 * 1024;

/// What answers requests, shared by all connections.
pub(super) struct Engine {
    endpoints: Vec<Arc<dyn Endpoint>>,
    max_concurrent: usize,
    clock: Clock,
    /// Its own base URL, without a slash at the end.
    pub(super) base: String,
    random: Mutex<Random>,
    script: Mutex<Script>,
    pub(super) ledger: Arc<Ledger>,
}

impl Engine {
    pub(super) fn new(config: Config, base: String, clock: Clock) -> Self {
        Self {
            endpoints: config.endpoints,
            max_concurrent: config.max_concurrent,
            base,
            random: Mutex::new(Random::with_seed(config.seed)),
            script: Mutex::new(Script::new(config.faults, clock.now().boot)),
            ledger: Arc::new(Ledger::new(clock.clone())),
            clock,
        }
    }

    /// The bodies that its endpoints have of their own.
    pub(super) fn bodies(&self) -> Vec<&'static str> {
        bodies(&self.endpoints)
    }

    /// Changes the script as of now.
    pub(super) fn direct(&self, change: impl FnOnce(&mut Script, BootTime)) {
        change(&mut self.script(), self.clock.now().boot);
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random(&self) -> MutexGuard<'_, Random> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request, or asks for the connection's reset.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Reset> {
        let entry = self.ledger.enter();
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
        let too_long = body.is_err();
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let request = Request::from_parts(head, body);
        let (endpoint, Recognised { resource, notes, .. }) = self.endpoint_of(&request);
        entry.recognised(resource.as_deref(), notes);

        if entry.at_work > self.max_concurrent {
            let answer = endpoint.refusal(&request, StatusCode::TOO_MANY_REQUESTS);
            return Ok(self.finish(entry, endpoint, answer));
        }
        let fault = resource.and_then(|resource| self.meet(&resource, endpoint));
        if let Some(fault) = &fault {
            entry.fault(fault);
            tokio::time::sleep(fault.latency).await;
        }
        let answer = match fault.as_ref().map_or(&Effect::None, |fault| &fault.effect) {
            Effect::Hang => std::future::pending().await,
            Effect::Reset => return Err(Reset),
            Effect::Status { code, retry_after, body } if body.is_some() || !code.is_success() => {
                let retry_after = retry_after.as_ref().and_then(|after| self.header(after));
                endpoint.refusal(&request, *code).with(retry_after, body.as_deref())
            }
            _ if too_long => endpoint.refusal(&request, StatusCode::PAYLOAD_TOO_LARGE),
            effect => self.grant_or_refuse(endpoint, &request, effect),
        };
        let mut response = self.finish(entry, endpoint, answer);
        if let Some(idle) = fault.and_then(|fault| fault.keep_alive) {
            response.extensions_mut().insert(KeepAlive(idle));
        }
        Ok(response)
    }

    /// The endpoint that recognises most in a request, and what that is.
    fn endpoint_of(&self, request: &Request<Bytes>) -> (&dyn Endpoint, Recognised) {
        let all = self.endpoints.iter().map(|it| (&**it, it.recognise(request))).enumerate();
        let most = all.max_by_key(|(at, (_, it))| (it.path, it.credential, Reverse(*at)));
        most.map_or_else(|| (&Nothing as &dyn Endpoint, Recognised::default()), |(_, most)| most)
    }

    fn meet(&self, resource: &str, endpoint: &dyn Endpoint) -> Option<Fault> {
        let asked = Asked { resource, bodies: endpoint.bodies() };
        self.script().meet(&asked, self.clock.now().boot)
    }

    /// A Retry-After header as of now; none for a time that no date can tell.
    fn header(&self, retry_after: &RetryAfter) -> Option<HeaderValue> {
        match retry_after {
            RetryAfter::Text(text) => Some(text.clone()),
            RetryAfter::DateIn(ahead) => {
                let now = self.clock.now().wall.unix_seconds();
                let date = UNIX_EPOCH + Duration::from_secs(now.try_into().ok()?) + *ahead;
                HeaderValue::from_str(&httpdate::fmt_http_date(date)).ok()
            }
        }
    }

    /// The endpoint's own answer; a grant with what the effect makes of it.
    fn grant_or_refuse(
        &self,
        endpoint: &dyn Endpoint,
        request: &Request<Bytes>,
        effect: &Effect,
    ) -> Answer {
        let flaw = match effect {
            Effect::ShorterLife(by) => Flaw::ShorterLife(*by),
            Effect::Body(BadBody::Own(body)) => Flaw::Body(body),
            _ => Flaw::None,
        };
        let (now, base) = (self.clock.now().wall, self.base.as_str());
        let mut random = self.random();
        let mut moment = Moment { now, base, random: &mut random, flaw };
        let mut answer = endpoint.answer(request, &mut moment);
        if !matches!(answer.outcome, Outcome::Granted(_)) {
            return answer;
        }
        match effect {
            Effect::Body(bad) => answer.spoilt(bad),
            Effect::Status { code, .. } => {
                answer.status = *code;
                answer
            }
            _ => answer,
        }
    }

    /// Counts the answer and adds the headers that all of the endpoint's answers have.
    fn finish(&self, entry: Entry, endpoint: &dyn Endpoint, answer: Answer) -> Response<Body> {
        let Answer { status, mut headers, body, outcome, delivery } = answer;
        let at_work = entry.at_work;
        let held = entry.answered(status, outcome);
        let now = self.clock.now().wall;
        let mut served = Served { now, at_work, held, random: &mut self.random() };
        endpoint.add_headers(&mut headers, &mut served);
        let mut response = Response::new(delivery.body(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}
