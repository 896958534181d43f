//! The one place that builds a [`Status`]: code, reason, details, retry information.
//!
//! Nothing of what a request held, and nothing of a cause's own text, gets in here.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use tokio::time::Instant;
use tonic::{Code, Status, body::Body, metadata::MetadataValue};
use tonic_types::{ErrorDetails, StatusExt};

use super::violation::{PROFILE_NOT_FOUND, RESOURCE_NOT_FOUND, Refusal, Violation, param_path};
use crate::{
    auth::{
        bearer::Cause,
        refusal::{Denied, QUOTA_EXCEEDED, STREAMS_EXCEEDED},
        usage::Quota,
    },
    mint::{
        minter::{self, Unserved},
        options::Attainable,
    },
};

const DOMAIN: &str = "grantmint";

/// The metadata key that gRPC clients with a retry policy act on.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The widest that retries are spread.
const SPREAD: Duration = Duration::from_millis(250);

/// When to try again where no place was free for one more stream: nobody knows when one ends.
const OVERLOADED_FOR: Duration = Duration::from_secs(1);

type Metadata = HashMap<String, String>;

fn details(reason: &str, metadata: Metadata) -> ErrorDetails {
    ErrorDetails::with_error_info(reason, DOMAIN, metadata)
}

fn build(code: Code, message: &str, details: ErrorDetails) -> Status {
    Status::with_error_details(code, message, details)
}

fn simple(code: Code, reason: &str, message: &str) -> Status {
    build(code, message, details(reason, Metadata::new()))
}

/// A call whose request is invalid.
pub(super) fn refused(refusal: Refusal) -> Status {
    match refusal {
        Refusal::Invalid(violations) => invalid(&violations),
        Refusal::Denied(why) => denied(&why, None, None),
        Refusal::ProfileNotFound => {
            simple(Code::NotFound, PROFILE_NOT_FOUND, "no such profile is configured")
        }
        Refusal::ResourceNotFound => {
            simple(Code::NotFound, RESOURCE_NOT_FOUND, "no such resource is configured")
        }
    }
}

/// A call that its caller is not allowed. What does not exist is answered alike. `resume` is
/// where a bulk goes on.
pub(super) fn denied(denied: &Denied, resume: Option<i64>, deadline: Option<Instant>) -> Status {
    let mut metadata = Metadata::new();
    resumes(&mut metadata, resume);
    let mut add = |key: &str, value: String| drop(metadata.insert(key.to_owned(), value));
    let (code, message) = match denied {
        Denied::Unauthenticated(cause) => {
            add("cause", cause.as_str().to_owned());
            (Code::Unauthenticated, unauthenticated(*cause).into())
        }
        Denied::Unverifiable { retry_in } => {
            let message = "the caller's token cannot be verified now: its issuer's keys are missing; \
                           retry";
            return unavailable(denied.reason(), message, *retry_in, deadline, resume);
        }
        Denied::Unknown => (Code::PermissionDenied, "the caller is in no entry".into()),
        Denied::Method => (Code::PermissionDenied, "the caller may not call this method".into()),
        Denied::Profile => (Code::PermissionDenied, "the caller may not use this profile".into()),
        Denied::Resource => (Code::PermissionDenied, "the caller may not use this resource".into()),
        Denied::Identity { index } => {
            if let Some(index) = index {
                add("index", index.to_string());
            }
            let message = "the caller may not have tokens for this identity";
            (Code::PermissionDenied, message.into())
        }
        Denied::Param { name } => {
            let message = match param_path(name) {
                Some(path) => format!("the caller may not set {path}").into(),
                None => Cow::Borrowed("the caller may not set such a parameter"),
            };
            (Code::PermissionDenied, message)
        }
        Denied::Ttl { attainable_max } => {
            let most = seconds(*attainable_max);
            add("attainable_max", most.clone());
            let message = format!("the caller's tokens may live at most {most}");
            (Code::PermissionDenied, message.into())
        }
    };
    build(code, &message, details(denied.reason(), metadata))
}

/// Why nothing names a call's caller.
const fn unauthenticated(cause: Cause) -> &'static str {
    match cause {
        Cause::NoCredential => "the caller shows no credential that names it",
        Cause::Malformed => "the caller's token is malformed, or of a form that is never accepted",
        Cause::UnknownIssuer => "the caller's token is of no issuer that is known here",
        Cause::UnknownKey => {
            "the caller's token is signed with a key that its issuer does not have"
        }
        Cause::BadSignature => "the signature of the caller's token is wrong",
        Cause::Expired => "the caller's token has expired",
        Cause::NotYetValid => "the caller's token is not valid yet",
        Cause::WrongAudience => "the caller's token is meant for another audience",
        Cause::TooLongLived => "the caller's token is valid for longer than is accepted",
        Cause::NotBound => "the caller's token is bound to a key that the caller does not prove",
    }
}

/// A caller has used up one of its quotas, which holds what the call needs in `refill`. `resume`
/// is where a bulk goes on.
pub(super) fn quota_exceeded(
    entry: &str,
    quota: Quota,
    refill: Duration,
    deadline: Option<Instant>,
    resume: Option<i64>,
) -> Status {
    let message = "the caller has used up its quota; retry when it is refilled";
    exhausted((QUOTA_EXCEEDED, message), (entry, quota.as_str()), refill, deadline, resume)
}

/// As many calls of a caller's entry stream as may. `resume` is where a bulk begins.
pub(super) fn streams_exceeded(
    entry: &str,
    deadline: Option<Instant>,
    resume: Option<i64>,
) -> Status {
    let message = "the caller has reached its limit of open streams; retry when one has ended";
    exhausted((STREAMS_EXCEEDED, message), (entry, "streams"), OVERLOADED_FOR, deadline, resume)
}

fn exhausted(
    (reason, message): (&str, &str),
    (entry, limit): (&str, &str),
    delay: Duration,
    deadline: Option<Instant>,
    resume: Option<i64>,
) -> Status {
    let mut metadata = Metadata::new();
    resumes(&mut metadata, resume);
    let mut details = details(reason, metadata);
    details.add_quota_failure_violation(format!("callers/{entry}"), limit);
    retryable(Code::ResourceExhausted, message, details, delay, deadline)
}

/// The reason where what is minted cannot be recorded.
pub(super) const AUDIT_UNAVAILABLE: &str = "AUDIT_UNAVAILABLE";

/// The reason of a call or an attempt that the upstream, or its budget, keeps waiting.
pub(super) const UPSTREAM_THROTTLED: &str = "UPSTREAM_THROTTLED";

/// The reason of calls that end because the server stops.
pub(super) const DRAINING: &str = "DRAINING";

const SIGNING_FAILED: &str = "SIGNING_FAILED";

const UNSIGNED: &str = "a signature could not be made";

/// Bad fields, at least one.
pub(super) fn invalid(violations: &[Violation]) -> Status {
    let Some(first) = violations.first() else { return unexpected() };
    let (key, bound, words) = match first.attainable {
        Some(Attainable::Min(min)) => ("attainable_min", Some(min), "at least"),
        Some(Attainable::Max(max)) => ("attainable_max", Some(max), "at most"),
        None => ("", None, ""),
    };
    let bound = bound.map(seconds);
    let metadata = bound.iter().map(|bound| (key.to_owned(), bound.clone())).collect();
    let mut details = details(first.reason, metadata);
    for violation in violations {
        details.add_bad_request_violation(&*violation.field, &*violation.description);
    }
    let bound = bound.map_or_else(String::new, |bound| format!("; {words} {bound}"));
    let message = format!("{} {}{bound}", first.field, first.description);
    build(Code::InvalidArgument, &message, details)
}

/// A duration as protobuf's JSON form has it.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

/// A call that gets no token, now. `resume` is where a bulk goes on.
pub(super) fn unserved(
    unserved: Unserved,
    grant: &str,
    deadline: Option<Instant>,
    resume: Option<i64>,
) -> Status {
    let mut metadata = Metadata::new();
    if !grant.is_empty() {
        metadata.insert("grant".to_owned(), grant.to_owned());
    }
    resumes(&mut metadata, resume);
    if let minter::Cause::GrantExpired(end) = unserved.cause {
        let end = std::time::UNIX_EPOCH + Duration::from_micros(end.unix_micros().unsigned_abs());
        let end = humantime::format_rfc3339_millis(end).to_string();
        metadata.insert("end_time".to_owned(), end);
    }
    let (code, reason, message) = match unserved.cause {
        minter::Cause::ResourceNotFound => (
            Code::NotFound,
            RESOURCE_NOT_FOUND,
            "the upstream says that the resource does not exist; it is re-checked slowly",
        ),
        minter::Cause::UpstreamRejected => (
            Code::FailedPrecondition,
            "UPSTREAM_REJECTED",
            "the upstream refuses the service's credential, resource or configuration; its operator must act",
        ),
        minter::Cause::UpstreamThrottled => (
            Code::Unavailable,
            UPSTREAM_THROTTLED,
            "the upstream asks the account to wait, and no grant that will do is left",
        ),
        minter::Cause::GrantExpired(_) => (
            Code::Unavailable,
            "GRANT_EXPIRED",
            "the grant's life is over and its successor is late; retry",
        ),
        minter::Cause::GrantPending => {
            (Code::Unavailable, "GRANT_PENDING", "there is no grant yet; retry")
        }
        minter::Cause::GrantNotNewer => {
            (Code::Unavailable, "GRANT_NOT_NEWER", "there is no newer grant yet; retry")
        }
        minter::Cause::GrantTooShort => (
            Code::Unavailable,
            "GRANT_TOO_SHORT",
            "the present grant has not the life asked for; retry, or ask for less",
        ),
        minter::Cause::Draining => {
            (Code::Unavailable, DRAINING, "this server is going away; retry on another")
        }
        minter::Cause::Overloaded => (
            Code::Unavailable,
            "OVERLOADED",
            "too many slow signatures wait; retry, or ask another server",
        ),
        minter::Cause::Unrecorded => (
            Code::Unavailable,
            AUDIT_UNAVAILABLE,
            "the audit log cannot be written, and nothing is minted without its record; retry",
        ),
        // Each is told with the caller's entry, by whoever knows that.
        minter::Cause::QuotaExceeded | minter::Cause::LivesTooLong(_) => return unexpected(),
        minter::Cause::SigningFailed => {
            tracing::error!("a signature could not be made");
            (Code::Internal, SIGNING_FAILED, UNSIGNED)
        }
    };
    let details = details(reason, metadata);
    if code != Code::Unavailable {
        return build(code, message, details);
    }
    retryable(code, message, details, unserved.retry_in, deadline)
}

fn resumes(metadata: &mut Metadata, resume: Option<i64>) {
    if let Some(index) = resume {
        metadata.insert("resume_index".to_owned(), index.to_string());
    }
}

/// Tells clients with a retry policy when to retry, or not to where it could not end in time.
fn push_back(status: &mut Status, delay: Duration, deadline: Option<Instant>) {
    let in_time = deadline.is_none_or(|deadline| Instant::now() + delay < deadline);
    let value = if in_time { i64::try_from(delay.as_millis()).unwrap_or(i64::MAX) } else { -1 };
    status.metadata_mut().insert(PUSHBACK, MetadataValue::from(value));
}

/// The call's deadline passed. `resume` is where a bulk goes on.
pub(super) fn deadline_exceeded(resume: Option<i64>) -> Status {
    let mut metadata = Metadata::new();
    resumes(&mut metadata, resume);
    let details = details("DEADLINE_EXCEEDED", metadata);
    build(Code::DeadlineExceeded, "the call's deadline passed", details)
}

/// The request did not come whole in time: nothing of it has been done.
pub(super) fn request_late() -> Status {
    simple(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the request took too long to come")
}

/// The server goes away, and no grant in particular is concerned.
pub(super) fn draining(deadline: Option<Instant>) -> Status {
    let message = "this server is going away; retry on another";
    unavailable(DRAINING, message, Duration::ZERO, deadline, None)
}

/// No attempt to refresh the grant may start for that long.
pub(super) fn refresh_held(grant: String, delay: Duration, deadline: Option<Instant>) -> Status {
    let message =
        "the upstream, the account's budget or the last such request allows no attempt yet";
    let metadata = Metadata::from([("grant".to_owned(), grant)]);
    let details = details(UPSTREAM_THROTTLED, metadata);
    retryable(Code::Unavailable, message, details, delay, deadline)
}

/// As many calls stream as may, or with as long lists. `resume` is where a bulk begins.
pub(super) fn overloaded(deadline: Option<Instant>, resume: Option<i64>) -> Status {
    let message = "too many calls, or too long lists, at once; retry, or ask another server";
    unavailable("OVERLOADED", message, OVERLOADED_FOR, deadline, resume)
}

/// The connection's time is up. `resume` is where a bulk goes on.
pub(super) fn lifetime_reached(deadline: Option<Instant>, resume: Option<i64>) -> Status {
    let message = "the connection's time is up; resume on a new one";
    unavailable("STREAM_LIFETIME_REACHED", message, Duration::ZERO, deadline, resume)
}

/// A bulk's caller took too long to read a chunk. `resume` is that chunk's first index.
pub(super) fn chunk_stale(deadline: Option<Instant>, resume: i64) -> Status {
    let message = "the last chunk was read too late to be of use; resume with it, and read faster";
    unavailable("CHUNK_STALE", message, Duration::ZERO, deadline, Some(resume))
}

/// What another call, after `delay` and some jitter, will not meet.
fn unavailable(
    reason: &str,
    message: &str,
    delay: Duration,
    deadline: Option<Instant>,
    resume: Option<i64>,
) -> Status {
    let mut metadata = Metadata::new();
    resumes(&mut metadata, resume);
    retryable(Code::Unavailable, message, details(reason, metadata), delay, deadline)
}

/// What is worth trying again after `delay`, spread so that not all callers come at once.
fn retryable(
    code: Code,
    message: &str,
    mut details: ErrorDetails,
    delay: Duration,
    deadline: Option<Instant>,
) -> Status {
    let delay = delay + SPREAD.mul_f64(fastrand::f64());
    details.set_retry_info(Some(delay));
    let mut status = build(code, message, details);
    push_back(&mut status, delay, deadline);
    status
}

/// A bug on our side; its cause is logged, never told.
pub(super) fn unexpected() -> Status {
    simple(
        Code::Internal,
        "UNEXPECTED",
        "something unexpected went wrong; its operator can see it in the log",
    )
}

/// A signature of a bulk's chunk could not be made; `resume` is where the bulk goes on.
pub(super) fn signing_failed(resume: i64) -> Status {
    tracing::error!("a signature could not be made");
    let mut metadata = Metadata::new();
    resumes(&mut metadata, Some(resume));
    build(Code::Internal, UNSIGNED, details(SIGNING_FAILED, metadata))
}

/// No such method.
pub(super) fn unknown_method() -> Status {
    Status::unimplemented("no such method")
}

/// A method that takes one message was sent more.
pub(super) fn many_messages() -> Status {
    Status::unimplemented("the method takes one message, and more were sent")
}

/// No service of that name has a health.
pub(super) fn unknown_service() -> Status {
    Status::not_found("no such service")
}

/// What came is no gRPC: the HTTP status says why, and the gRPC status is what clients make of
/// it.
pub(super) fn not_grpc(http: http::StatusCode, message: &'static str) -> http::Response<Body> {
    let mut response = Status::unknown(message).into_http();
    *response.status_mut() = http;
    response
}
