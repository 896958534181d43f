//! A call that failed.

use std::{collections::HashMap, error, fmt, io, time::Duration};

use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

use crate::{connect::is_transient_socket_error, tls::ConnectError};

/// How the path of an identity in a list starts; its index follows.
const LISTED: &str = "identity_list.identities[";

/// A call that failed: the server's error, or the transport's.
#[derive(Clone, Debug)]
pub struct Error {
    status: Box<Status>,
    reason: Option<String>,
}

/// A field of the request that the server refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FieldViolation {
    /// The field's path, such as `options.ttl`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl Error {
    /// The server's reason, such as `GRANT_PENDING`: `docs/errors.md` lists them. `None` where the
    /// transport failed.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// The status code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.status.code()
    }

    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        let is_quota = self.code() == Code::ResourceExhausted && self.reason.is_some();
        let or = || self.code() == Code::Unavailable || is_quota || self.is_transport();
        self.may_connect_later().unwrap_or_else(or)
    }

    /// When the server expects that a retry succeeds.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.status.get_details_retry_info()?.retry_delay
    }

    /// The fields of the request that are wrong.
    #[must_use]
    pub fn field_violations(&self) -> Vec<FieldViolation> {
        let bad = self.status.get_details_bad_request();
        let violations = bad.into_iter().flat_map(|bad| bad.field_violations);
        violations
            .map(|it| FieldViolation { field: it.field, description: it.description })
            .collect()
    }

    /// The details of the reason, such as `attainable_max`.
    #[must_use]
    pub fn metadata(&self) -> HashMap<String, String> {
        self.status.get_details_error_info().map(|info| info.metadata).unwrap_or_default()
    }

    /// The gRPC status.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The error of a call for the part of a list that starts at this index. Its indices then count
    /// from the start of the list.
    pub(crate) fn moved(self, start: usize) -> Self {
        let mut details = self.status.get_error_details();
        let Some(mut info) = details.error_info().cloned().filter(|_| start > 0) else {
            return self;
        };
        for name in ["index", "resume_index"] {
            if let Some(index) = info.metadata.get_mut(name) {
                *index = moved(index, start).unwrap_or_else(|| index.clone());
            }
        }
        details.set_error_info(info.reason, info.domain, info.metadata);
        if let Some(mut bad) = details.bad_request().cloned() {
            for violation in &mut bad.field_violations {
                let index =
                    violation.field.strip_prefix(LISTED).and_then(|it| it.strip_suffix(']'));
                if let Some(index) = index.and_then(|it| moved(it, start)) {
                    violation.field = format!("{LISTED}{index}]");
                }
            }
            details.set_bad_request(bad.field_violations);
        }
        let (code, message) = (self.status.code(), self.status.message());
        let metadata = self.status.metadata().clone();
        Status::with_error_details_and_metadata(code, message, details, metadata).into()
    }

    /// Whether the connection failed, and not the call: tonic reports a connection that breaks
    /// with various codes, but always with a source.
    fn is_transport(&self) -> bool {
        self.reason.is_none()
            && self.code() != Code::DeadlineExceeded
            && error::Error::source(&*self.status).is_some()
    }

    /// Whether a connection that was not made may be made later; `None` for other failures.
    fn may_connect_later(&self) -> Option<bool> {
        if let Some(error) = cause::<ConnectError>(&self.status) {
            return Some(error.is_transient());
        }
        cause::<tonic::ConnectError>(&self.status)?;
        // Of a Unix socket: an error of TCP is inside a `TcpError`.
        cause::<io::Error>(&self.status).map(|it| is_transient_socket_error(it.kind()))
    }
}

/// An index that counts from `start`, from 0.
fn moved(index: &str, start: usize) -> Option<String> {
    let index: usize = index.parse().ok()?;
    index.checked_add(start).map(|index| index.to_string())
}

/// The cause of this type in a status's chain of sources.
fn cause<T: error::Error + 'static>(status: &Status) -> Option<&T> {
    let mut next = error::Error::source(status);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

impl From<Status> for Error {
    fn from(mut status: Status) -> Self {
        // tonic reports a deadline that passed on this side as CANCELLED.
        if cause::<TimeoutExpired>(&status).is_some() {
            status = Status::deadline_exceeded("the deadline passed");
        }
        let reason = status.get_details_error_info().map(|info| info.reason);
        Self { status: Box::new(status), reason }
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        *error.status
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.status.message())?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => write!(f, " ({:?})", self.code()),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        error::Error::source(&*self.status)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tonic_types::ErrorDetails;

    use super::*;
    use crate::connect::TcpError;

    #[test]
    fn indices_are_moved_to_the_start_of_the_list() {
        let mut details = ErrorDetails::new();
        let index = |name: &str| (name.to_owned(), "7".to_owned());
        let metadata = [index("index"), index("resume_index"), index("attainable_max")];
        details.set_error_info("IDENTITY_INVALID", "grantmint", HashMap::from(metadata));
        details.add_bad_request_violation("identity_list.identities[7]", "is empty");
        details.add_bad_request_violation("options.ttl", "is negative");
        details.set_retry_info(Some(Duration::from_secs(2)));
        let status = Status::with_error_details(Code::InvalidArgument, "invalid", details);
        let error = Error::from(status).moved(20_000);
        let fields = error.field_violations().into_iter().map(|it| it.field);
        assert_eq!(fields.collect::<Vec<_>>(), ["identity_list.identities[20007]", "options.ttl"]);
        let metadata = error.metadata();
        let values = ["index", "resume_index", "attainable_max"].map(|name| &metadata[name][..]);
        assert_eq!(values, ["20007", "20007", "7"]);
        assert_eq!(
            (error.code(), error.reason()),
            (Code::InvalidArgument, Some("IDENTITY_INVALID"))
        );
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
    }

    fn unconnected(error: impl error::Error + Send + Sync + 'static) -> Error {
        let mut status = Status::unavailable("cannot connect");
        status.set_source(Arc::new(tonic::ConnectError(Box::new(error))));
        status.into()
    }

    #[test]
    fn connection_is_retried_by_its_transport() {
        use io::ErrorKind::{
            ConnectionRefused, InvalidInput, NotFound, PermissionDenied, WouldBlock,
        };

        for (kind, is_socket_retried) in [
            (NotFound, true),
            (ConnectionRefused, true),
            (WouldBlock, true),
            (PermissionDenied, false),
            // A path that is too long.
            (InvalidInput, false),
        ] {
            let socket = unconnected(io::Error::from(kind));
            assert_eq!(socket.is_retryable(), is_socket_retried, "{kind:?}");
            assert!(unconnected(TcpError::from(io::Error::from(kind))).is_retryable(), "{kind:?}");
        }
    }

    #[test]
    fn connection_that_breaks_is_retried() {
        let mut status = Status::unknown("transport error");
        status.set_source(Arc::new(io::Error::from(io::ErrorKind::PermissionDenied)));
        assert!(Error::from(status).is_retryable());
    }
}
