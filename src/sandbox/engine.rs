//! Handles a request: checks the limit on concurrent requests, applies the script's fault if one
//! matches, and lets the matching endpoint respond.

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
    endpoint::{
        AnswerContext, Endpoint, Flaw, HeaderContext, NoEndpoint, Random, Recognized, bodies,
    },
    fault::{BadBody, Effect, Fault, RetryAfter},
    script::{Script, Target},
};
use crate::clock::{BootTime, Clock};

const MAX_BODY_BYTES: usize = 64 * 1024;

/// Responds to requests; shared by all connections.
pub(super) struct Engine {
    endpoints: Vec<Arc<dyn Endpoint>>,
    max_concurrent: usize,
    clock: Clock,
    /// The sandbox's base URL, without a trailing slash.
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

    /// The bodies specific to its endpoints.
    pub(super) fn bodies(&self) -> Vec<&'static str> {
        bodies(&self.endpoints)
    }

    /// Changes the script as of now.
    pub(super) fn change_script(&self, change: impl FnOnce(&mut Script, BootTime)) {
        change(&mut self.script(), self.clock.now().boot);
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn random(&self) -> MutexGuard<'_, Random> {
        self.random.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Responds to a request, or resets the connection.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Reset> {
        let entry = self.ledger.enter();
        let (head, body) = request.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
        let too_long = body.is_err();
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let request = Request::from_parts(head, body);
        let (endpoint, Recognized { resource, notes, .. }) = self.endpoint_of(&request);
        entry.recognized(resource.as_deref(), notes);

        if entry.in_flight > self.max_concurrent {
            let answer = endpoint.refusal(&request, StatusCode::TOO_MANY_REQUESTS);
            return Ok(self.finish(entry, endpoint, answer));
        }
        let fault = resource.and_then(|resource| self.trigger(&resource, endpoint));
        if let Some(fault) = &fault {
            entry.fault(fault);
            tokio::time::sleep(fault.latency).await;
        }
        let answer = match fault.as_ref().map_or(&Effect::None, |fault| &fault.effect) {
            Effect::Hang => std::future::pending().await,
            Effect::Reset => return Err(Reset),
            Effect::Status { code, retry_after, body } if body.is_some() || !code.is_success() => {
                let retry_after = retry_after.as_ref().and_then(|after| self.header(after));
                endpoint.refusal(&request, *code).overridden(retry_after, body.as_deref())
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

    /// The endpoint that recognizes most of a request, and what it recognizes.
    fn endpoint_of(&self, request: &Request<Bytes>) -> (&dyn Endpoint, Recognized) {
        let all = self.endpoints.iter().map(|it| (&**it, it.recognize(request))).enumerate();
        let most = all.max_by_key(|(at, (_, it))| (it.path, it.credential, Reverse(*at)));
        most.map_or_else(|| (&NoEndpoint as &dyn Endpoint, Recognized::default()), |(_, most)| most)
    }

    fn trigger(&self, resource: &str, endpoint: &dyn Endpoint) -> Option<Fault> {
        let target = Target { resource, bodies: endpoint.bodies() };
        self.script().trigger(&target, self.clock.now().boot)
    }

    /// A Retry-After header as of now; `None` for a time that an HTTP date cannot express.
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

    /// The endpoint's response; if it is a grant, with the effect applied.
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
        let mut context = AnswerContext { now, base, random: &mut random, flaw };
        let mut answer = endpoint.answer(request, &mut context);
        if !matches!(answer.outcome, Outcome::Granted(_)) {
            return answer;
        }
        match effect {
            Effect::Body(bad) => answer.corrupted(bad),
            Effect::Status { code, .. } => {
                answer.status = *code;
                answer
            }
            _ => answer,
        }
    }

    /// Counts the response and adds the endpoint's common headers.
    fn finish(&self, entry: Entry, endpoint: &dyn Endpoint, answer: Answer) -> Response<Body> {
        let Answer { status, mut headers, body, outcome, delivery } = answer;
        let in_flight = entry.in_flight;
        let held = entry.answered(status, outcome);
        let now = self.clock.now().wall;
        let mut context = HeaderContext { now, in_flight, held, random: &mut self.random() };
        endpoint.add_headers(&mut headers, &mut context);
        let mut response = Response::new(delivery.body(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}
