//! The sandbox's own side over HTTP: counters to read, faults to switch.

use std::sync::PoisonError;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Serialize;

use super::{
    answer::json,
    script::{Fault, FaultError},
    upstream::Upstream,
};

/// Paths below this are the sandbox's own.
pub(super) const PREFIX: &str = "/sandbox/";

/// Where the counters are read.
pub(super) const COUNTERS: &str = "/sandbox/counters";

/// Where faults are switched.
pub(super) const FAULT: &str = "/sandbox/fault";

const MAX_BODY_BYTES: usize = 64 * 1024;

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

/// Answers a request below [`PREFIX`].
pub(super) async fn answer(
    upstream: &Upstream,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let method = head.method;
    match head.uri.path() {
        COUNTERS if method == Method::GET => {
            response(StatusCode::OK, json(&upstream.ledger.counters()))
        }
        COUNTERS => not_allowed("GET"),
        FAULT if method == Method::DELETE => {
            upstream.script.lock().unwrap_or_else(PoisonError::into_inner).clear();
            response(StatusCode::NO_CONTENT, String::new())
        }
        FAULT if method == Method::PUT || method == Method::POST => {
            let Ok(body) = Limited::new(body, MAX_BODY_BYTES).collect().await else {
                return problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long");
            };
            let fault = match read_fault(&body.to_bytes()) {
                Ok(fault) => fault,
                Err(error) => {
                    return problem(StatusCode::BAD_REQUEST, &format!("the fault: {error}"));
                }
            };
            let mut script = upstream.script.lock().unwrap_or_else(PoisonError::into_inner);
            if method == Method::PUT {
                script.set(fault);
            } else {
                script.add(fault);
            }
            response(StatusCode::NO_CONTENT, String::new())
        }
        FAULT => not_allowed("PUT, POST, DELETE"),
        _ => problem(StatusCode::NOT_FOUND, "there are /sandbox/counters and /sandbox/fault"),
    }
}

fn read_fault(body: &[u8]) -> Result<Fault, FaultError> {
    let text = str::from_utf8(body).map_err(|_| FaultError::NoEffect)?.trim();
    if text.starts_with(['{', '[']) { Fault::from_json(text) } else { text.parse() }
}

fn response(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    response
}

fn problem(status: StatusCode, error: &str) -> Response<Full<Bytes>> {
    response(status, json(&Problem { error }))
}

fn not_allowed(methods: &'static str) -> Response<Full<Bytes>> {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "not by this method");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}
