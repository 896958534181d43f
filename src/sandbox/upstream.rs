//! The emulated endpoint: `POST /v1/PlayerStreamers/{Sid}/PlaybackGrant`.
//!
//! A request passes the concurrency ceiling, meets the script's fault if one is for it, then
//! is checked as the upstream would: credential, path, method, form.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use secrecy::ExposeSecret;

use super::{
    Account, Config,
    answer::{Answer, Granted, Refusal},
    connection::{KeepAlive, Reset},
    counters::{Entry, Ledger},
    delivery::Body,
    fault::{BadBody, Effect, Fault, RetryAfter},
    script::Script,
};
use crate::{
    clock::{BootTime, Clock},
    provider::twilio_live::{ids::PlayerStreamerSid, wire},
};

/// The life of a grant that was asked for without one, in seconds (`twilio_media_v1.json`).
const DEFAULT_TTL: u64 = 15;

/// The longest life that can be asked for, in seconds (`twilio_media_v1.json`).
const MAX_TTL: u64 = 60;

const MAX_FORM_BYTES: usize = 64 * 1024;

/// What serves grants, shared by all connections.
pub(super) struct Upstream {
    accounts: Vec<Account>,
    max_concurrent: usize,
    clock: Clock,
    /// Its own base URL, without a slash at the end.
    pub(super) base: String,
    random: Mutex<fastrand::Rng>,
    script: Mutex<Script>,
    pub(super) ledger: Arc<Ledger>,
}

/// A request's form, as written.
#[derive(Default)]
struct Form {
    ttl: Option<String>,
    allow_origin: Option<String>,
}

impl Upstream {
    pub(super) fn new(config: Config, base: String, clock: Clock) -> Self {
        Self {
            accounts: config.accounts,
            max_concurrent: config.max_concurrent,
            base,
            random: Mutex::new(fastrand::Rng::with_seed(config.seed)),
            script: Mutex::new(Script::new(config.faults, clock.now().boot)),
            ledger: Arc::new(Ledger::new(clock.clone())),
            clock,
        }
    }

    /// Changes the script as of now.
    pub(super) fn direct(&self, change: impl FnOnce(&mut Script, BootTime)) {
        change(&mut self.script(), self.clock.now().boot);
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a request, or asks for the connection's reset.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Result<Response<Body>, Reset> {
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let entry = self.ledger.enter(resource_in(path));
        let body = Limited::new(body, MAX_FORM_BYTES).collect().await;
        let form = body.map(|body| Form::read(&head.headers, &body.to_bytes()));
        if let Ok(form) = &form {
            entry.form(form.ttl.as_deref(), form.allow_origin.as_deref());
        }

        if entry.at_work > self.max_concurrent {
            let answer = Answer::refusal(StatusCode::TOO_MANY_REQUESTS.into(), path);
            return Ok(self.finish(entry, answer));
        }
        let Some(fault) = self.meet(&head.method, path) else {
            let answer = self.grant_or_refuse(&head, form, &Effect::None);
            return Ok(self.finish(entry, answer));
        };
        entry.fault(&fault);
        tokio::time::sleep(fault.latency).await;
        let answer = match &fault.effect {
            Effect::Hang => std::future::pending().await,
            Effect::Reset => return Err(Reset),
            Effect::Status { code, retry_after, body } if body.is_some() || !code.is_success() => {
                let retry_after = retry_after.as_ref().and_then(|after| self.header(after));
                Answer::status(*code, path, retry_after, body.as_deref())
            }
            effect => self.grant_or_refuse(&head, form, effect),
        };
        let mut response = self.finish(entry, answer);
        if let Some(idle) = fault.keep_alive {
            response.extensions_mut().insert(KeepAlive(idle));
        }
        Ok(response)
    }

    fn meet(&self, method: &Method, path: &str) -> Option<Fault> {
        let resource = resource_in(path).filter(|_| method == Method::POST)?;
        self.script().meet(resource, self.clock.now().boot)
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

    fn grant_or_refuse(
        &self,
        head: &http::request::Parts,
        form: Result<Form, impl Sized>,
        effect: &Effect,
    ) -> Answer {
        let form = form.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE.into());
        match form.and_then(|form| self.check(head, form)) {
            Ok(granted) => self.grant(granted, effect),
            Err(refusal) => Answer::refusal(refusal, head.uri.path()),
        }
    }

    /// What is to be granted, if anything.
    fn check(&self, head: &http::request::Parts, form: Form) -> Result<Granted, Refusal> {
        let path = head.uri.path();
        let account = self.authenticate(&head.headers)?;
        let streamer = resource_in(path)
            .and_then(|sid| PlayerStreamerSid::parse(sid).ok())
            .ok_or(StatusCode::NOT_FOUND)?;
        if head.method != Method::POST {
            return Err(StatusCode::METHOD_NOT_ALLOWED.into());
        }
        let ttl = form.ttl.map_or(Some(DEFAULT_TTL), |text| text.parse().ok());
        let ttl = ttl.filter(|ttl| (1..=MAX_TTL).contains(ttl)).ok_or(Refusal::BAD_TTL)?;
        Ok(Granted {
            url: format!("{}{path}", self.base),
            account: account.account_sid.clone(),
            streamer,
            allow_origin: form.allow_origin.filter(|origin| !origin.is_empty()),
            life: Duration::from_secs(ttl),
        })
    }

    fn authenticate(&self, headers: &HeaderMap) -> Result<&Account, Refusal> {
        let (user, secret) = basic(headers).ok_or(StatusCode::UNAUTHORIZED)?;
        let account = self
            .accounts
            .iter()
            .find(|account| account.api_key_sid == user)
            .ok_or(Refusal::UNKNOWN_USER)?;
        if account.api_key_secret.expose_secret() == secret {
            Ok(account)
        } else {
            Err(StatusCode::UNAUTHORIZED.into())
        }
    }

    fn grant(&self, mut granted: Granted, effect: &Effect) -> Answer {
        let status = match effect {
            Effect::Status { code, .. } => *code,
            _ => StatusCode::CREATED,
        };
        let bad = match effect {
            Effect::Body(BadBody::Text(text)) => return Answer::json(status, text.clone()),
            Effect::Body(bad) => Some(bad),
            _ => None,
        };
        if let Effect::ShorterLife(by) = effect {
            granted.life = granted.life.saturating_sub(*by);
        }
        let now = self.clock.now().wall.unix_seconds();
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        Answer::granted(status, &granted, bad, now, &mut random)
    }

    /// Counts the answer and adds the headers that all answers have.
    fn finish(&self, entry: Entry, answer: Answer) -> Response<Body> {
        let id = self.random.lock().unwrap_or_else(PoisonError::into_inner).u128(..);
        let Answer { status, mut headers, body, delivery, playback_url } = answer;
        let at_work = entry.at_work;
        let held = entry.answered(status.as_u16(), playback_url);
        for (name, text) in [
            ("twilio-concurrent-requests", at_work.to_string()),
            ("twilio-request-id", format!("RQ{id:032x}")),
            ("twilio-request-duration", format!("{:.3}", held.as_secs_f64())),
        ] {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        let mut response = Response::new(delivery.body(body));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

impl Form {
    /// Reads the form in a body, unless its content is said to be something else.
    fn read(headers: &HeaderMap, body: &[u8]) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_form = content_type.is_none_or(|content_type| {
            content_type.to_ascii_lowercase().starts_with(b"application/x-www-form-urlencoded")
        });
        let mut form = Self::default();
        if is_form {
            for (name, value) in form_urlencoded::parse(body) {
                match &*name {
                    wire::TTL => form.ttl = Some(value.into_owned()),
                    wire::ALLOW_ORIGIN => form.allow_origin = Some(value.into_owned()),
                    _ => {}
                }
            }
        }
        form
    }
}

/// The resource that a grant's path names, well-formed or not.
fn resource_in(path: &str) -> Option<&str> {
    let resource = path.split('/').nth(3)?;
    (wire::path(resource) == path).then_some(resource)
}

/// User and password of a Basic `Authorization` header.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, value) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(BASE64_STANDARD.decode(value.trim()).ok()?).ok()?;
    let (user, password) = pair.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
