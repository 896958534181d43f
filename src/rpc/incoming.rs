//! A request's body as it is received over HTTP/2.

mod uploads;

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Body, Frame, SizeHint};

use self::uploads::Upload;
pub use self::uploads::{ConnectionUploads, Uploads};
use super::status;

/// Request bytes that are not counted: nearly every request is smaller.
const SMALL: usize = 4 * 1024;

/// The request half of a stream. The client may send more while its connection's unfinished
/// requests are within their budget, since they are buffered until complete.
#[derive(Debug)]
pub struct Incoming {
    stream: RecvStream,
    received: usize,
    uploads: ConnectionUploads,
    /// Set once the request is larger than [`SMALL`] and incomplete.
    upload: Option<Upload>,
}

impl Incoming {
    /// The body of a request on a connection.
    #[must_use]
    pub const fn new(stream: RecvStream, uploads: ConnectionUploads) -> Self {
        Self { stream, received: 0, uploads, upload: None }
    }

    /// Returns flow-control capacity for the received bytes, now or once the budget allows it.
    fn receive(&mut self, bytes: usize) -> Result<(), uploads::TooManyBytes> {
        self.received = self.received.saturating_add(bytes);
        if self.upload.is_none() && self.received > SMALL && !self.stream.is_end_stream() {
            self.upload = Some(self.uploads.begin());
        }
        if let Some(upload) = &self.upload {
            return upload.received(bytes);
        }
        self.release(bytes);
        Ok(())
    }

    fn release(&mut self, bytes: usize) {
        // Fails only if the stream has ended, which the next poll reports.
        let _ = self.stream.flow_control().release_capacity(bytes);
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(upload) = &self.upload
            && let Poll::Ready(bytes @ 1..) = upload.poll_capacity(cx.waker())
        {
            self.release(bytes);
        }
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => match self.receive(data.len()) {
                Ok(()) => Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(uploads::TooManyBytes) => {
                    Poll::Ready(Some(Err(status::overloaded(None, None).into())))
                }
            },
            // The client cancelled. That ends the call and is not an error of the request.
            Some(Err(error))
                if matches!(error.reason(), Some(Reason::NO_ERROR | Reason::CANCEL)) =>
            {
                Poll::Ready(None)
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            None => match ready!(self.stream.poll_trailers(cx)) {
                Ok(trailers) => {
                    self.upload = None;
                    Poll::Ready(trailers.map(|it| Ok(Frame::trailers(it))))
                }
                Err(error) => Poll::Ready(Some(Err(error.into()))),
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
