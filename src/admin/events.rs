//! `/events`: snapshots as server-sent events. One snapshot a second is rendered for all viewers,
//! and none while there is no viewer.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, watch},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use super::status::{Selection, Status};

/// The maximum number of viewers.
const MAX_VIEWERS: usize = 32;

const INTERVAL: Duration = Duration::from_secs(1);

/// A viewer that reads nothing for this long is disconnected.
const STALL: Duration = Duration::from_secs(30);

/// Sends snapshots to viewers.
#[derive(Debug)]
pub(super) struct Events {
    /// The last snapshot; empty while there is no viewer.
    latest: watch::Sender<Bytes>,
    joined: Notify,
    places: Arc<Semaphore>,
}

impl Default for Events {
    fn default() -> Self {
        let places = Arc::new(Semaphore::new(MAX_VIEWERS));
        Self { latest: watch::Sender::new(Bytes::new()), joined: Notify::new(), places }
    }
}

impl Events {
    /// Renders snapshots as long as there are viewers.
    pub(super) async fn run(&self, status: &Arc<Status>) {
        loop {
            while self.latest.receiver_count() == 0 {
                self.latest.send_replace(Bytes::new());
                self.joined.notified().await;
            }
            let status = Arc::clone(status);
            // Other tasks of this thread do not wait for a long list.
            let snapshot = spawn_blocking(move || status.render(&Selection::of_events()));
            if let Ok(snapshot) = snapshot.await {
                self.latest.send_replace(event(&snapshot));
            }
            sleep(INTERVAL).await;
        }
    }

    /// The response body of a new viewer; none if all places are taken. `viewing` is the state of
    /// its connection.
    pub(super) fn join(&self, viewing: &Arc<Viewing>) -> Option<UnsyncBoxBody<Bytes, Infallible>> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        let mut snapshots = self.latest.subscribe();
        snapshots.mark_changed();
        self.joined.notify_one();
        viewing.began.notify_one();
        let viewer = Viewer { snapshots, viewing: Arc::clone(viewing), _place: place };
        let events = stream::unfold(viewer, Viewer::next).boxed();
        Some(StreamBody::new(events).boxed_unsync())
    }
}

/// The state of a connection that may become an event stream.
#[derive(Debug, Default)]
pub(super) struct Viewing {
    began: Notify,
    read: Notify,
}

impl Viewing {
    /// Waits until the connection becomes an event stream.
    pub(super) async fn begins(&self) {
        self.began.notified().await;
    }

    /// Waits until its viewer has read nothing for a while.
    pub(super) async fn stalls(&self) {
        while timeout(STALL, self.read.notified()).await.is_ok() {}
    }
}

struct Viewer {
    snapshots: watch::Receiver<Bytes>,
    viewing: Arc<Viewing>,
    _place: OwnedSemaphorePermit,
}

impl Viewer {
    /// The next event. It is requested when the connection has room for it, and skips snapshots that
    /// the viewer was too slow for.
    async fn next(mut self) -> Option<(Result<Frame<Bytes>, Infallible>, Self)> {
        loop {
            self.viewing.read.notify_one();
            self.snapshots.changed().await.ok()?;
            let snapshot = self.snapshots.borrow_and_update().clone();
            if !snapshot.is_empty() {
                return Some((Ok(Frame::data(snapshot)), self));
            }
        }
    }
}

/// An event with this data, which is one line.
fn event(data: &Bytes) -> Bytes {
    let mut event = BytesMut::with_capacity(data.len() + 8);
    event.put_slice(b"data: ");
    event.put_slice(data);
    event.put_slice(b"\n\n");
    event.freeze()
}
