//! A request's body as it arrives over HTTP/2.

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

/// Bytes of a request that are not counted: nearly every request has fewer.
const SMALL: usize = 4 * 1024;

/// The request's half of a stream. The client has room to send more while its connection's
/// unfinished requests are within their budget: they are gathered until they are whole.
#[derive(Debug)]
pub struct Incoming {
    stream: RecvStream,
    came: usize,
    uploads: ConnectionUploads,
    /// Once it is larger than a [`SMALL`] one, and not whole.
    upload: Option<Upload>,
}

impl Incoming {
    /// One of the requests of a connection.
    #[must_use]
    pub const fn new(stream: RecvStream, uploads: ConnectionUploads) -> Self {
        Self { stream, came: 0, uploads, upload: None }
    }

    /// Gives the client room for what has come, now or when there is.
    fn receive(&mut self, bytes: usize) -> Result<(), uploads::TooMany> {
        self.came = self.came.saturating_add(bytes);
        if self.upload.is_none() && self.came > SMALL && !self.stream.is_end_stream() {
            self.upload = Some(self.uploads.begin());
        }
        if let Some(upload) = &self.upload {
            return upload.came(bytes);
        }
        self.release(bytes);
        Ok(())
    }

    fn release(&mut self, bytes: usize) {
        // Fails only where the stream has ended, which the next poll reports.
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
            && let Poll::Ready(bytes @ 1..) = upload.poll_room(cx.waker())
        {
            self.release(bytes);
        }
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(data)) => match self.receive(data.len()) {
                Ok(()) => Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(uploads::TooMany) => {
                    Poll::Ready(Some(Err(status::overloaded(None, None).into())))
                }
            },
            // The client went away. That ends the call, and is no fault of the request's.
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
