//! The state of grants, followed.

use std::{fmt, time::Duration};

use futures_util::{Stream, stream};
use tonic::{Request, Status, Streaming};

use crate::{
    Connection, Error,
    proto::{
        WatchGrantsRequest, WatchGrantsResponse, grant_service_client::GrantServiceClient,
        watch_grants_request,
    },
    retry::Resumption,
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
#[must_use = "a watch calls nothing until its updates are requested"]
pub struct Watch {
    connection: Connection,
    target: Target,
    call: Option<Streaming<WatchGrantsResponse>>,
    resumption: Resumption,
    on_resume: Option<OnResume>,
}

type OnResume = Box<dyn FnMut(&Error, Duration) + Send + Sync>;

impl Watch {
    /// A watch over a connection of your own; [`Client::watch`](crate::Client::watch) starts one
    /// over the client's.
    pub fn new(connection: Connection, target: Target) -> Self {
        let resumption = Resumption::new();
        Self { connection, target, call: None, resumption, on_resume: None }
    }

    /// How long to keep trying after a failure, until the next update; zero: not at all. A watch
    /// that is open may be silent for any time. Default: the client's, 60 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.resumption.set_patience(patience);
        self
    }

    /// Calls `report` before each resumption, for example to log it, with the error and the pause
    /// that follows.
    pub fn on_resume(
        mut self,
        report: impl FnMut(&Error, Duration) + Send + Sync + 'static,
    ) -> Self {
        self.on_resume = Some(Box::new(report));
        self
    }

    /// Receives the next update: first a snapshot, in messages with `snapshot` of which the last
    /// has `snapshot_complete`, then the grants that changed. After a failure that may pass a new
    /// snapshot follows, which replaces all that was received before. Until it is complete, older
    /// grants may be kept; [`on_resume`](Self::on_resume) is called before it, so that a snapshot
    /// that was cut off can be dropped. It is cancel safe.
    ///
    /// # Errors
    ///
    /// The server refuses, or could not be reached for the client's patience. A call after an
    /// error starts again.
    pub async fn next(&mut self) -> Result<WatchGrantsResponse, Error> {
        loop {
            self.resumption.ready().await;
            let error = match self.receive().await {
                Ok(update) => return Ok(update),
                Err(error) => error,
            };
            self.call = None;
            let Some(pause) = self.resumption.after(&error) else { return Err(error) };
            if let Some(report) = &mut self.on_resume {
                report(&error, pause);
            }
        }
    }

    /// The updates as a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<WatchGrantsResponse, Error>> + Send {
        stream::try_unfold(self, async |mut watch| {
            let update = watch.next().await?;
            Ok(Some((update, watch)))
        })
    }

    async fn receive(&mut self) -> Result<WatchGrantsResponse, Error> {
        let call = if let Some(call) = &mut self.call {
            call
        } else {
            let call = self.start().await?;
            self.call.insert(call)
        };
        let update = call.message().await?;
        let update = update.ok_or_else(|| Status::unavailable("the watch ended"))?;
        self.resumption.progressed();
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

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("target", &self.target).finish_non_exhaustive()
    }
}
