//! The SPIFFE Workload API. A local agent sends the server's certificate and key (an SVID) and
//! trust domain bundles, and sends them again when they change.
//!
//! Whenever it fails, the last SVID and bundles stay in use.

mod backoff;
mod client;
mod messages;
mod svid;

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::{Code, Status, Streaming};

use self::{
    backoff::Backoff,
    messages::X509SvidResponse,
    svid::{Choice, Context, SvidError},
};
use super::{agent::Agent, certificate::Validity, server::Tls};
use crate::{
    audit::{Audit, Outcome},
    auth::name::SpiffeId,
    clock::{Clock, WallTime},
    telemetry::ReloadMetrics,
};

/// The time limit for the agent's first message. It sends what it has or an error at once.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);

type Messages = Streaming<X509SvidResponse>;

/// Follows the Workload API and applies what it sends.
pub struct WorkloadApi {
    agent: Agent,
    tls: Arc<Tls>,
    clock: Clock,
    metrics: ReloadMetrics,
    /// `None` without an audit log.
    audit: Option<Audit>,
    state: watch::Sender<State>,
    changes: watch::Sender<()>,
}

/// The current SVID and the last failure.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// The current SVID.
    svid: Option<(SpiffeId, Validity)>,
    /// Why the last attempt failed; `None` while a stream is open.
    failure: Option<Failure>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    /// The agent has no SVID for this process.
    #[error("not registered: {0}")]
    NotRegistered(String),
    /// The agent cannot be reached or its stream ended.
    #[error("{0}")]
    Unavailable(String),
    /// A message cannot be used.
    #[error("refused: {0}")]
    Refused(#[from] SvidError),
}

impl WorkloadApi {
    /// Creates the follower for a server.
    #[must_use]
    pub fn new(
        agent: Agent,
        tls: Arc<Tls>,
        clock: Clock,
        metrics: ReloadMetrics,
        audit: Option<Audit>,
    ) -> Self {
        let (state, changes) = (watch::Sender::default(), watch::Sender::new(()));
        Self { agent, tls, clock, metrics, audit, state, changes }
    }

    /// Whether an SVID has been received.
    #[must_use]
    pub fn has_svid(&self) -> bool {
        self.state.borrow().svid.is_some()
    }

    /// A one-line description of the state at this time.
    #[must_use]
    pub fn line(&self, now: WallTime) -> String {
        let State { svid, failure } = &*self.state.borrow();
        let svid = match svid {
            Some((id, Validity { end: Some(end), .. })) if *end <= now => {
                format!("expired, {}", id.as_str())
            }
            Some((id, validity)) => {
                let remaining = validity.end.map_or(0, |end| end.since(now).as_secs());
                format!("ok, {}, {remaining} s left", id.as_str())
            }
            None => "waiting for the first SVID".to_owned(),
        };
        let failure = failure.as_ref().map(|it| format!(", {it}")).unwrap_or_default();
        format!("workload_api: {svid}{failure}")
    }

    /// A receiver that is notified of each change of the state.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Follows the Workload API until the process ends.
    pub async fn run(self: Arc<Self>) {
        let mut backoff = Backoff::default();
        loop {
            let failure = self.follow(&mut backoff).await;
            self.failed(failure);
            sleep(backoff.next()).await;
        }
    }

    /// Applies one message. Returns the SPIFFE ID of the SVID.
    ///
    /// # Errors
    ///
    /// The agent sends no SVID that can be used.
    pub async fn receive_once(&self) -> Result<SpiffeId, String> {
        let received = match self.begin().await {
            Ok((_, Some(response))) => self.receive(&response).map_err(Failure::from),
            Ok((_, None)) => Err(ended()),
            Err(failure) => Err(failure),
        };
        received.map_err(|failure| failure.to_string())?;
        let State { svid, .. } = self.state.borrow().clone();
        svid.map(|(id, _)| id).ok_or_else(|| "no SVID".to_owned())
    }

    /// Opens a stream within the time limit.
    async fn begin(&self) -> Result<(Messages, Option<X509SvidResponse>), Failure> {
        match timeout(FIRST_MESSAGE_TIMEOUT, self.open()).await {
            Ok(opened) => Ok(opened?),
            Err(_) => Err(Failure::Unavailable("the agent did not respond".to_owned())),
        }
    }

    /// Applies the messages of one stream until it fails.
    async fn follow(&self, backoff: &mut Backoff) -> Failure {
        let (mut stream, first) = match self.begin().await {
            Ok(opened) => opened,
            Err(failure) => return failure,
        };
        let opened = self.clock.now().boot;
        let mut next: Result<_, Status> = Ok(first);
        loop {
            match next {
                Ok(Some(response)) => {
                    if let Err(error) = self.receive(&response) {
                        return error.into();
                    }
                }
                Ok(None) => return ended(),
                Err(status) => return status.into(),
            }
            next = stream.message().await;
            backoff.streamed(self.clock.now().boot.since(opened));
        }
    }

    /// Opens a stream and returns it with its first message.
    async fn open(&self) -> Result<(Messages, Option<X509SvidResponse>), Status> {
        let mut stream = client::fetch(&self.agent.address).await?;
        let first = stream.message().await?;
        Ok((stream, first))
    }

    /// Applies a message.
    fn receive(&self, response: &X509SvidResponse) -> Result<(), SvidError> {
        let now = self.clock.now().wall;
        let current = self.state.borrow().svid.as_ref().map(|(id, _)| id.clone());
        let choice = match (&self.agent.spiffe_id, &current) {
            (Some(id), _) => Choice::Only(id),
            (None, Some(id)) => Choice::Prefer(id),
            (None, None) => Choice::First,
        };
        let context = Context::read(response, choice, &self.tls.received(), now)?;
        let Context { id, identity, bundles, unusable } = context;
        for (domain, reason) in &unusable {
            tracing::warn!(domain, reason, "federated bundle unusable; keeping the previous one");
        }
        let validity = identity.validity;
        let left_seconds = validity.end.map(|end| end.since(now).as_secs());
        let name = id.as_str();
        tracing::info!(name, left_seconds, "SVID received from the Workload API");
        for problem in identity.warnings() {
            tracing::warn!(problem, "the SVID has a warning");
        }
        self.tls.set_received(&identity, &bundles);
        self.metrics.reloaded();
        self.metrics.failing(false);
        self.record(Outcome::Ok);
        self.set(State { svid: Some((id, validity)), failure: None });
        Ok(())
    }

    fn failed(&self, failure: Failure) {
        let State { svid, failure: previous } = self.state.borrow().clone();
        self.metrics.failed();
        self.metrics.failing(true);
        if previous.as_ref() == Some(&failure) {
            return;
        }
        let (has_svid, reason) = (svid.is_some(), failure.to_string());
        match &failure {
            Failure::Refused(_) => {
                tracing::error!(has_svid, reason, "SVID refused; keeping the previous one");
            }
            Failure::NotRegistered(_) | Failure::Unavailable(_) => {
                tracing::warn!(has_svid, reason, "Workload API unavailable; retrying");
            }
        }
        self.record(Outcome::Failed);
        self.set(State { svid, failure: Some(failure) });
    }

    fn record(&self, outcome: Outcome) {
        if let Some(audit) = &self.audit {
            audit.reloaded("workload_api", outcome);
        }
    }

    fn set(&self, state: State) {
        self.state.send_replace(state);
        self.changes.send_replace(());
    }
}

fn ended() -> Failure {
    Failure::Unavailable("the agent ended the call".to_owned())
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let (code, message) = (status.code(), status.message().escape_debug());
        match code {
            Code::PermissionDenied => Self::NotRegistered(message.to_string()),
            _ => Self::Unavailable(format!("{code:?}, {message}")),
        }
    }
}

impl fmt::Debug for WorkloadApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkloadApi")
    }
}

#[cfg(test)]
mod tests;
