//! The SPIFFE Workload API: an agent on this machine that sends the server's certificate with
//! its key (an SVID) and the bundles of trust domains, and sends them again when they change.
//!
//! Whatever goes wrong with it, the last SVID and the last bundles stay in force.

pub mod address;
mod client;
mod messages;
mod pauses;
mod svid;

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tonic::{Code, Status, Streaming};

use self::{
    address::Address,
    messages::X509SvidResponse,
    pauses::Pauses,
    svid::{Choice, Context, SvidError},
};
use super::{certificate::Validity, server::Tls};
use crate::{
    audit::{Audit, Outcome},
    auth::name::SpiffeId,
    clock::{Clock, WallTime},
    telemetry::ReloadMetrics,
};

/// An agent that has taken the call answers within this time: it has what it sends, or says that
/// there is nothing.
const FIRST_ANSWER: Duration = Duration::from_secs(30);

type Messages = Streaming<X509SvidResponse>;

/// Where the Workload API is, and what is taken from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where it is.
    pub address: Address,
    /// Which SVID is shown. None: the one in force while it is still sent, or else the first.
    pub spiffe_id: Option<SpiffeId>,
}

/// Follows the Workload API, and puts what it sends in force.
pub struct WorkloadApi {
    config: Config,
    tls: Arc<Tls>,
    clock: Clock,
    metrics: ReloadMetrics,
    /// None where nothing is recorded.
    audit: Option<Audit>,
    state: watch::Sender<State>,
    changes: watch::Sender<()>,
}

/// What has come, and what is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct State {
    /// The SVID in force.
    svid: Option<(SpiffeId, Validity)>,
    /// Why the last attempt failed; none while the agent is followed.
    failure: Option<Failure>,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Failure {
    /// The agent has nothing for this process.
    #[error("not registered: {0}")]
    NotRegistered(String),
    /// The agent cannot be asked.
    #[error("{0}")]
    Unavailable(String),
    /// What it sent cannot be used.
    #[error("refused: {0}")]
    Refused(#[from] SvidError),
}

impl WorkloadApi {
    /// For this server.
    #[must_use]
    pub fn new(
        config: Config,
        tls: Arc<Tls>,
        clock: Clock,
        metrics: ReloadMetrics,
        audit: Option<Audit>,
    ) -> Self {
        let (state, changes) = (watch::Sender::default(), watch::Sender::new(()));
        Self { config, tls, clock, metrics, audit, state, changes }
    }

    /// Whether an SVID has come.
    #[must_use]
    pub fn has_svid(&self) -> bool {
        self.state.borrow().svid.is_some()
    }

    /// The state at this time, in one line for people.
    #[must_use]
    pub fn line(&self, now: WallTime) -> String {
        let State { svid, failure } = &*self.state.borrow();
        let svid = match svid {
            Some((id, Validity { end: Some(end), .. })) if *end <= now => {
                format!("expired, {}", id.as_str())
            }
            Some((id, validity)) => {
                let left = validity.end.map_or(0, |end| end.since(now).as_secs());
                format!("ok, {}, {left} s left", id.as_str())
            }
            None => "waiting for the first SVID".to_owned(),
        };
        let failure = failure.as_ref().map(|it| format!(", {it}")).unwrap_or_default();
        format!("workload_api: {svid}{failure}")
    }

    /// Notified of each change of the state from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Follows it until the process ends.
    pub async fn run(self: Arc<Self>) {
        let mut pauses = Pauses::default();
        loop {
            let failure = self.follow(&mut pauses).await;
            self.failed(failure);
            sleep(pauses.next()).await;
        }
    }

    /// Takes what one stream brings, until that fails.
    async fn follow(&self, pauses: &mut Pauses) -> Failure {
        let (mut stream, first) = match timeout(FIRST_ANSWER, self.begin()).await {
            Ok(Ok(begun)) => begun,
            Ok(Err(status)) => return status.into(),
            Err(_) => return Failure::Unavailable("the agent does not answer".to_owned()),
        };
        let began = self.clock.now().boot;
        let mut next: Result<_, Status> = Ok(first);
        loop {
            match next {
                Ok(Some(response)) => {
                    if let Err(error) = self.receive(&response) {
                        return error.into();
                    }
                }
                Ok(None) => return Failure::Unavailable("the agent ended the call".to_owned()),
                Err(status) => return status.into(),
            }
            next = stream.message().await;
            pauses.streamed(self.clock.now().boot.since(began));
        }
    }

    /// A stream, and what it begins with.
    async fn begin(&self) -> Result<(Messages, Option<X509SvidResponse>), Status> {
        let mut stream = client::fetch(&self.config.address).await?;
        let first = stream.message().await?;
        Ok((stream, first))
    }

    /// Puts a message in force.
    fn receive(&self, response: &X509SvidResponse) -> Result<(), SvidError> {
        let now = self.clock.now().wall;
        let in_force = self.state.borrow().svid.as_ref().map(|(id, _)| id.clone());
        let choice = match (&self.config.spiffe_id, &in_force) {
            (Some(id), _) => Choice::Only(id),
            (None, Some(id)) => Choice::Rather(id),
            (None, None) => Choice::First,
        };
        let context = Context::read(response, choice, &self.tls.received(), now)?;
        let Context { id, identity, bundles, unusable } = context;
        for (domain, reason) in &unusable {
            tracing::warn!(domain, reason, "a federated bundle cannot be used");
        }
        let validity = identity.validity;
        let left_seconds = validity.end.map(|end| end.since(now).as_secs());
        let name = id.as_str();
        tracing::info!(name, left_seconds, "the Workload API has sent an SVID");
        for problem in identity.warnings() {
            tracing::warn!(problem, "the SVID needs a look");
        }
        self.tls.set_received(&identity, &bundles);
        self.metrics.reloaded();
        self.metrics.failing(false);
        self.record(Outcome::Ok);
        self.set(State { svid: Some((id, validity)), failure: None });
        Ok(())
    }

    fn failed(&self, failure: Failure) {
        let State { svid, failure: former } = self.state.borrow().clone();
        self.metrics.failed();
        self.metrics.failing(true);
        if former.as_ref() == Some(&failure) {
            return;
        }
        let (has_svid, reason) = (svid.is_some(), failure.to_string());
        match &failure {
            Failure::Refused(_) => {
                tracing::error!(has_svid, reason, "an SVID is refused; the last one is kept");
            }
            Failure::NotRegistered(_) | Failure::Unavailable(_) => {
                tracing::warn!(
                    has_svid,
                    reason,
                    "the Workload API sends nothing; it is asked again"
                );
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
