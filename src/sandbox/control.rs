//! The control API over HTTP: reads counters and the request log, changes faults.

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Serialize;

use super::{
    answer::json,
    delivery::{Body, Delivery},
    engine::Engine,
    fault::{Fault, FaultError},
    scenario,
    script::Script,
};

/// The path prefix of the control API.
pub(super) const PREFIX: &str = "/sandbox";

const MAX_BODY_BYTES: usize = 64 * 1024;

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

/// Whether a path belongs to the control API.
pub(super) fn is_below(path: &str) -> bool {
    path.strip_prefix(PREFIX).is_some_and(|rest| rest.starts_with('/'))
}

/// Responds to a request to the control API.
pub(super) async fn answer(engine: &Engine, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let method = head.method;
    match head.uri.path().strip_prefix(PREFIX).unwrap_or_default() {
        "/counters" if method == Method::GET => {
            response(StatusCode::OK, json(&engine.ledger.counters()))
        }
        "/requests" if method == Method::GET => {
            response(StatusCode::OK, json(&engine.ledger.lines()))
        }
        "/counters" | "/requests" => not_allowed("GET"),
        "/fault" if method == Method::DELETE => {
            engine.change_script(|script, _| script.clear());
            response(StatusCode::NO_CONTENT, String::new())
        }
        "/fault" if method == Method::PUT || method == Method::POST => {
            let change = if method == Method::PUT { Script::set } else { Script::add };
            let put = text_of(body).await.and_then(|text| {
                let fault = read_fault(&text, &engine.bodies())
                    .map_err(|error| format!("the fault: {error}"))?;
                engine.change_script(|script, now| change(script, fault, now));
                Ok(())
            });
            done(put)
        }
        "/fault" => not_allowed("PUT, POST, DELETE"),
        "/scenario" if method == Method::PUT => {
            let put = text_of(body).await.and_then(|text| {
                let faults = scenario::parse("scenario", &text, &engine.bodies());
                let faults = faults.map_err(|all| all.to_string())?;
                engine.change_script(|script, now| *script = Script::new(faults, now));
                Ok(())
            });
            done(put)
        }
        "/scenario" => not_allowed("PUT"),
        _ => problem(
            StatusCode::NOT_FOUND,
            "unknown path; expected one of /sandbox/counters, /sandbox/requests, /sandbox/fault, \
             /sandbox/scenario",
        ),
    }
}

async fn text_of(body: Incoming) -> Result<String, String> {
    let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
    let body = body.map_err(|_| format!("the body is longer than {MAX_BODY_BYTES} bytes"))?;
    String::from_utf8(body.to_bytes().into()).map_err(|_| "the body is not UTF-8".to_owned())
}

fn read_fault(text: &str, own: &[&str]) -> Result<Fault, FaultError> {
    let text = text.trim();
    if text.starts_with(['{', '[']) {
        Fault::from_json(text, own)
    } else {
        Fault::from_words(text, own)
    }
}

fn done(result: Result<(), String>) -> Response<Body> {
    match result {
        Ok(()) => response(StatusCode::NO_CONTENT, String::new()),
        Err(error) => problem(StatusCode::BAD_REQUEST, &error),
    }
}

fn response(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Delivery::Whole.body(Bytes::from(body)));
    *response.status_mut() = status;
    if status != StatusCode::NO_CONTENT {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    response
}

fn problem(status: StatusCode, error: &str) -> Response<Body> {
    response(status, json(&Problem { error }))
}

fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(methods));
    response
}
