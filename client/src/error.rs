//! A call that failed.

use std::{collections::HashMap, error, fmt, io, time::Duration};

use tonic::{Code, Status, TimeoutExpired};
use tonic_types::StatusExt;

use crate::{connect::is_transient_socket_error, tls::ConnectError};

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

    use super::*;
    use crate::connect::TcpError;

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
