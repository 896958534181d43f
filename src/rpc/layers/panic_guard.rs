//! Catches panics of a call's handler and of its response body.

use std::{
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, body::Body};

use super::count::Ending;
use crate::rpc::status;

/// Waits for a call's response, up to its deadline.
pub(super) async fn response_of<F>(call: F, deadline: Option<Instant>) -> Response<Body>
where
    F: Future<Output = Result<Response<Body>, Infallible>>,
{
    let call = AssertUnwindSafe(call).catch_unwind();
    let result = match deadline {
        Some(deadline) => timeout_at(deadline, call).await,
        None => Ok(call.await),
    };
    match result {
        Ok(Ok(Ok(response))) => response,
        Ok(Err(_)) => refuse(status::unexpected()),
        Err(_) => refuse(status::deadline_exceeded(None)),
    }
}

pub(super) fn refuse(status: Status) -> Response<Body> {
    status.into_http()
}

/// A response body that catches panics and notes the status in its trailers.
pub struct GuardedBody {
    pub(super) body: Body,
    pub(super) ending: Ending,
}

impl GuardedBody {
    /// Whether the response is one message rather than a stream.
    #[must_use]
    pub fn is_unary(&self) -> bool {
        self.ending.method.unary
    }
}

impl HttpBody for GuardedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let _entered = this.ending.trace.as_ref().map(|trace| trace.context.enter());
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.body).poll_frame(cx)));
        let Ok(polled) = polled else {
            this.body = Body::empty();
            this.ending.code = Code::Internal;
            return Poll::Ready(trailers(&status::unexpected()));
        };
        let frame = ready!(polled);
        if let Some(Ok(frame)) = &frame
            && let Some(trailers) = frame.trailers_ref()
        {
            this.ending.note(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn trailers(status: &Status) -> Option<Result<Frame<Bytes>, Status>> {
    let mut trailers = HeaderMap::new();
    status.add_header(&mut trailers).ok()?;
    Some(Ok(Frame::trailers(trailers)))
}
