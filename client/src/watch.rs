//! The state of grants, followed.

use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::time::{Instant, sleep};
use tonic::{Code, Request, Streaming};

use crate::{
    Connection, Error,
    proto::{
        WatchGrantsRequest, WatchGrantsResponse, grant_service_client::GrantServiceClient,
        watch_grants_request,
    },
    retry,
};

/// Which grants to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// All that the caller may see.
    All,
    /// Those of this profile.
    Profile(String),
    /// This one: `profiles/{profile}/grants/{resource}`.
    Grant(String),
}

/// A watch in progress.
#[derive(Debug)]
#[must_use = "a watch calls nothing until its updates are requested"]
pub struct Watch {
    connection: Connection,
    target: Target,
    patience: Duration,
    call: Option<Streaming<WatchGrantsResponse>>,
    /// When an update was last received, or the connection was last good.
    progress: Instant,
    failures: u32,
}

impl Watch {
    pub(crate) fn new(connection: Connection, target: Target, patience: Duration) -> Self {
        Self { connection, target, patience, call: None, progress: Instant::now(), failures: 0 }
    }

    /// Receives the next update: first a snapshot, then the grants that changed. After a failure
    /// that may pass a new snapshot follows; its first message (`snapshot`) replaces all that
    /// was received before.
    ///
    /// # Errors
    ///
    /// The server refuses, or could not be reached for the client's patience. A call after an
    /// error starts again.
    pub async fn next(&mut self) -> Result<WatchGrantsResponse, Error> {
        loop {
            let error = match self.receive().await {
                Ok(Some(update)) => return Ok(update),
                Ok(None) => None,
                Err(error) => Some(error),
            };
            if self.call.take().is_some() {
                // A long silence of a good call is no lack of progress.
                self.progress = Instant::now();
            }
            let pause = match error {
                None => retry::backoff(1),
                Some(error) => {
                    let ended = matches!(error.code(), Code::DeadlineExceeded | Code::Cancelled);
                    if !(error.is_retryable() || ended) || self.progress.elapsed() > self.patience {
                        self.progress = Instant::now();
                        return Err(error);
                    }
                    self.failures = self.failures.saturating_add(1);
                    error.retry_after().unwrap_or_else(|| retry::backoff(self.failures))
                }
            };
            sleep(pause).await;
        }
    }

    /// The updates as a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<WatchGrantsResponse, Error>> + Send {
        stream::try_unfold(self, async |mut watch| {
            let update = watch.next().await?;
            Ok(Some((update, watch)))
        })
    }

    async fn receive(&mut self) -> Result<Option<WatchGrantsResponse>, Error> {
        let call = if let Some(call) = &mut self.call {
            call
        } else {
            let call = self.start().await?;
            self.call.insert(call)
        };
        let update = call.message().await?;
        if update.is_some() {
            (self.progress, self.failures) = (Instant::now(), 0);
        }
        Ok(update)
    }

    async fn start(&self) -> Result<Streaming<WatchGrantsResponse>, Error> {
        let target = match &self.target {
            Target::All => None,
            Target::Profile(profile) => {
                Some(watch_grants_request::Target::Profile(profile.clone()))
            }
            Target::Grant(name) => Some(watch_grants_request::Target::Name(name.clone())),
        };
        let mut service = GrantServiceClient::new(self.connection.clone());
        let request = Request::new(WatchGrantsRequest { target });
        Ok(service.watch_grants(request).await?.into_inner())
    }
}
