//! A request's body, which must come in good time: tonic waits for the whole of it, whatever
//! the call's deadline, and a stream may have none.

use std::{
    error::Error,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::status;

/// A request's body that ends in an error where it has not come whole in time.
pub struct RequestBody<B> {
    body: B,
    /// When it must have come; none for a body that is a stream of requests.
    due: Option<Instant>,
    /// Made when the body is waited for, which is seldom.
    late: Option<Pin<Box<Sleep>>>,
}

impl<B> RequestBody<B> {
    pub(super) const fn new(body: B, due: Option<Instant>) -> Self {
        Self { body, due, late: None }
    }
}

impl<B> Body for RequestBody<B>
where
    B: Body<Error: Into<Box<dyn Error + Send + Sync>>> + Unpin,
{
    type Data = B::Data;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, Self::Error>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let Some(due) = self.due else { return Poll::Pending };
        let late = self.late.get_or_insert_with(|| Box::pin(sleep_until(due)));
        ready!(late.as_mut().poll(cx));
        Poll::Ready(Some(Err(status::request_late().into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
