//! A request body with a time limit and, where the method takes one message, a limit of one
//! message. tonic waits for the whole body whatever the call's deadline, and takes the first
//! message of many.

use std::{
    error::Error,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::status;

/// A request body that fails if it does not arrive completely in time.
pub struct RequestBody<B> {
    body: B,
    /// When it must be complete; none for a stream of requests.
    due: Option<Instant>,
    /// Created when the body is waited for, which is rare.
    late: Option<Pin<Box<Sleep>>>,
    messages: Messages,
}

/// The position within the body's messages.
#[derive(Default)]
struct Messages {
    started: usize,
    /// Bytes read of the current message's prefix: a flag and its length.
    prefix: usize,
    length: u32,
    /// The bytes left of the current message.
    left: usize,
}

impl Messages {
    const PREFIX: usize = 5;

    /// Advances past `bytes`; whether the body still holds at most one message.
    fn still_one(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(bytes.len());
                self.left -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            if self.prefix == 0 {
                self.started += 1;
            }
            self.length = self.length << 8 | u32::from(bytes[0]);
            bytes = &bytes[1..];
            self.prefix += 1;
            if self.prefix == Self::PREFIX {
                // The flag has been shifted out.
                self.left = self.length as usize;
                self.prefix = 0;
            }
        }
        self.started <= 1
    }
}

impl<B> RequestBody<B> {
    pub(super) fn new(body: B, due: Option<Instant>) -> Self {
        Self { body, due, late: None, messages: Messages::default() }
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
            if self.due.is_some()
                && let Some(Ok(frame)) = &frame
                && let Some(data) = frame.data_ref()
                && !self.messages.still_one(data.chunk())
            {
                return Poll::Ready(Some(Err(status::many_messages().into())));
            }
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
