//! Builds every [`Status`]: code, reason, details and retry information.
//!
//! A status contains nothing from the request and nothing from the text of an underlying error.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use tokio::time::Instant;
use tonic::{Code, Status, body::Body, metadata::MetadataValue};
use tonic_types::{ErrorDetails, StatusExt};

use super::violation::{PROFILE_NOT_FOUND, RESOURCE_NOT_FOUND, Refusal, Violation, param_path};
use crate::{
    auth::{
        cause::Cause,
        refusal::{Denied, QUOTA_EXCEEDED, STREAMS_EXCEEDED},
        usage::Quota,
    },
    mint::{
        minter::{self, Unserved},
        options::Attainable,
    },
};

const DOMAIN: &str = "grantmint";

/// The metadata key honored by gRPC clients with a retry policy.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The maximum jitter of a retry.
const SPREAD: Duration = Duration::from_millis(250);

/// The retry delay if no stream permit is free: when one is released is unknown.
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

/// A call with an invalid request.
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

/// A call that is denied. Resources that do not exist get the same response. `resume` is the index
/// at which a bulk call resumes.
pub(super) fn denied(denied: &Denied, resume: Option<i64>, deadline: Option<Instant>) -> Status {
    let mut metadata = Metadata::new();
    add_resume(&mut metadata, resume);
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
        Denied::Unknown => (Code::PermissionDenied, "the caller matches no entry".into()),
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

/// Why authentication failed.
const fn unauthenticated(cause: Cause) -> &'static str {
    match cause {
        Cause::NoCredential => "the caller presents no credential that identifies it",
        Cause::Malformed => "the caller's token is malformed, or has a form that is never accepted",
        Cause::UnknownIssuer => "the caller's token has an unknown issuer",
        Cause::UnknownKey => "the caller's token is signed with an unknown key of its issuer",
        Cause::BadSignature => "the signature of the caller's token is invalid",
        Cause::Expired => "the caller's token has expired",
        Cause::NotYetValid => "the caller's token is not valid yet",
        Cause::WrongAudience => "the caller's token is for another audience",
        Cause::TooLongLived => "the caller's token is valid for longer than allowed",
        Cause::NotBound => "the caller's token is bound to a key that the caller did not prove",
    }
}

/// A caller has exhausted one of its quotas; after `refill` it holds enough for the call. `resume`
/// is the index at which a bulk call resumes.
pub(super) fn quota_exceeded(
    entry: &str,
    quota: Quota,
    refill: Duration,
    deadline: Option<Instant>,
    resume: Option<i64>,
) -> Status {
    let message = "the caller has exhausted its quota; retry when it is refilled";
    exhausted((QUOTA_EXCEEDED, message), (entry, quota.as_str()), refill, deadline, resume)
}

/// The caller's entry has too many open streams. `resume` is the first index of a bulk call.
pub(super) fn streams_exceeded(
    entry: &str,
    deadline: Option<Instant>,
    resume: Option<i64>,
) -> Status {
    let message = "the caller has reached its limit of open streams; retry when one ends";
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
    add_resume(&mut metadata, resume);
    let mut details = details(reason, metadata);
    details.add_quota_failure_violation(format!("callers/{entry}"), limit);
    retryable(Code::ResourceExhausted, message, details, delay, deadline)
}

/// The reason if tokens cannot be recorded.
pub(super) const AUDIT_UNAVAILABLE: &str = "AUDIT_UNAVAILABLE";

/// The reason of a call or attempt delayed by the upstream or by the account's budget.
pub(super) const UPSTREAM_THROTTLED: &str = "UPSTREAM_THROTTLED";

/// The reason of calls that end because the server shuts down.
pub(super) const DRAINING: &str = "DRAINING";

const SIGNING_FAILED: &str = "SIGNING_FAILED";

const SIGNING_FAILED_MESSAGE: &str = "signing failed";

/// Invalid fields; at least one.
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

/// A duration in protobuf's JSON form.
fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

/// A call that gets no token now. `resume` is the index at which a bulk call resumes.
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
    add_resume(&mut metadata, resume);
    if let minter::Cause::GrantExpired(end) = unserved.cause {
        let end = std::time::UNIX_EPOCH + Duration::from_micros(end.unix_micros().unsigned_abs());
        let end = humantime::format_rfc3339_millis(end).to_string();
        metadata.insert("end_time".to_owned(), end);
    }
    let (code, reason, message) = match unserved.cause {
        minter::Cause::ResourceNotFound => (
            Code::NotFound,
            RESOURCE_NOT_FOUND,
            "the upstream reports that the resource does not exist; it is checked again at long intervals",
        ),
        minter::Cause::UpstreamRejected => (
            Code::FailedPrecondition,
            "UPSTREAM_REJECTED",
            "the upstream rejects the service's credential, resource or configuration; the operator must fix it",
        ),
        minter::Cause::UpstreamThrottled => (
            Code::Unavailable,
            UPSTREAM_THROTTLED,
            "the upstream throttles the account, and no usable grant is left",
        ),
        minter::Cause::GrantExpired(_) => (
            Code::Unavailable,
            "GRANT_EXPIRED",
            "the grant has expired and the next one is late; retry",
        ),
        minter::Cause::GrantPending => {
            (Code::Unavailable, "GRANT_PENDING", "no grant has been received yet; retry")
        }
        minter::Cause::GrantNotNewer => {
            (Code::Unavailable, "GRANT_NOT_NEWER", "no newer grant has been received yet; retry")
        }
        minter::Cause::GrantTooShort => (
            Code::Unavailable,
            "GRANT_TOO_SHORT",
            "the current grant expires too soon for this request; retry, or request less",
        ),
        minter::Cause::Draining => {
            (Code::Unavailable, DRAINING, "this server is shutting down; retry on another")
        }
        minter::Cause::Overloaded => (
            Code::Unavailable,
            "OVERLOADED",
            "too many slow signatures are queued; retry, or use another server",
        ),
        minter::Cause::Unrecorded => (
            Code::Unavailable,
            AUDIT_UNAVAILABLE,
            "the audit log cannot be written, and no token is minted without a record; retry",
        ),
        // These are reported with the caller's entry, by the layer that knows it.
        minter::Cause::QuotaExceeded | minter::Cause::LivesTooLong(_) => return unexpected(),
        minter::Cause::SigningFailed => {
            tracing::error!("signing failed");
            (Code::Internal, SIGNING_FAILED, SIGNING_FAILED_MESSAGE)
        }
    };
    let details = details(reason, metadata);
    if code != Code::Unavailable {
        return build(code, message, details);
    }
    retryable(code, message, details, unserved.retry_in, deadline)
}

fn add_resume(metadata: &mut Metadata, resume: Option<i64>) {
    if let Some(index) = resume {
        metadata.insert("resume_index".to_owned(), index.to_string());
    }
}

/// Sets the retry delay for clients with a retry policy, or forbids a retry that could not finish
/// before the deadline.
fn push_back(status: &mut Status, delay: Duration, deadline: Option<Instant>) {
    let in_time = deadline.is_none_or(|deadline| Instant::now() + delay < deadline);
    let value = if in_time { i64::try_from(delay.as_millis()).unwrap_or(i64::MAX) } else { -1 };
    status.metadata_mut().insert(PUSHBACK, MetadataValue::from(value));
}

/// The call's deadline passed. `resume` is the index at which a bulk call resumes.
pub(super) fn deadline_exceeded(resume: Option<i64>) -> Status {
    let mut metadata = Metadata::new();
    add_resume(&mut metadata, resume);
    let details = details("DEADLINE_EXCEEDED", metadata);
    build(Code::DeadlineExceeded, "the call's deadline passed", details)
}

/// The request did not arrive completely in time; nothing was done.
pub(super) fn request_late() -> Status {
    simple(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", "the request took too long to arrive")
}

/// The server is shutting down; for calls that concern no grant in particular.
pub(super) fn draining(deadline: Option<Instant>) -> Status {
    let message = "this server is shutting down; retry on another";
    unavailable(DRAINING, message, Duration::ZERO, deadline, None)
}

/// No refresh attempt may start within `delay`.
pub(super) fn refresh_held(grant: String, delay: Duration, deadline: Option<Instant>) -> Status {
    let message = "no attempt is allowed yet by the upstream, the account's budget or the interval \
                   between requests";
    let metadata = Metadata::from([("grant".to_owned(), grant)]);
    let details = details(UPSTREAM_THROTTLED, metadata);
    retryable(Code::Unavailable, message, details, delay, deadline)
}

/// Too many streams, or too many listed identities. `resume` is the first index of a bulk call.
pub(super) fn overloaded(deadline: Option<Instant>, resume: Option<i64>) -> Status {
    let message = "too many streams or listed identities; retry, or use another server";
    unavailable("OVERLOADED", message, OVERLOADED_FOR, deadline, resume)
}

/// The connection reached its lifetime. `resume` is the index at which a bulk call resumes.
pub(super) fn lifetime_reached(deadline: Option<Instant>, resume: Option<i64>) -> Status {
    let message = "the connection reached its lifetime; resume on a new one";
    unavailable("STREAM_LIFETIME_REACHED", message, Duration::ZERO, deadline, resume)
}

/// The caller of a bulk took too long to read a chunk. `resume` is the first index of that chunk.
pub(super) fn chunk_stale(deadline: Option<Instant>, resume: i64) -> Status {
    let message = "the last chunk was read too late to be usable; resume with it, and read faster";
    unavailable("CHUNK_STALE", message, Duration::ZERO, deadline, Some(resume))
}

/// A temporary failure that a retry after `delay` and some jitter should not meet.
fn unavailable(
    reason: &str,
    message: &str,
    delay: Duration,
    deadline: Option<Instant>,
    resume: Option<i64>,
) -> Status {
    let mut metadata = Metadata::new();
    add_resume(&mut metadata, resume);
    retryable(Code::Unavailable, message, details(reason, metadata), delay, deadline)
}

/// A failure worth a retry after `delay`, with jitter so that callers do not retry at once.
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

/// A bug of this server. Its cause is logged, never returned.
pub(super) fn unexpected() -> Status {
    simple(
        Code::Internal,
        "UNEXPECTED",
        "unexpected error; the operator can see its cause in the server's log",
    )
}

/// Signing a chunk failed. `resume` is the index at which the bulk call resumes.
pub(super) fn signing_failed(resume: i64) -> Status {
    tracing::error!("signing failed");
    let mut metadata = Metadata::new();
    add_resume(&mut metadata, Some(resume));
    build(Code::Internal, SIGNING_FAILED_MESSAGE, details(SIGNING_FAILED, metadata))
}

/// The method does not exist.
pub(super) fn unknown_method() -> Status {
    Status::unimplemented("no such method")
}

/// More than one message was sent to a method that takes one.
pub(super) fn many_messages() -> Status {
    Status::unimplemented("the method takes one message; more were sent")
}

/// There is no service of that name to check.
pub(super) fn unknown_service() -> Status {
    Status::not_found("no such service")
}

/// The request is not gRPC. The HTTP status states why; the gRPC status is what clients derive from
/// it.
pub(super) fn not_grpc(http: http::StatusCode, message: &'static str) -> http::Response<Body> {
    let mut response = Status::unknown(message).into_http();
    *response.status_mut() = http;
    response
}
