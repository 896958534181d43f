//! A running server, and its shutdown.

use std::{future::pending, time::Duration};

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    audit::Audit,
    drain::{Drainer, Phase},
    otlp::Exporter,
    server,
    token::pool::Threads,
};

/// How long tasks may take to stop after connections are closed.
const CUT_GRACE: Duration = Duration::from_millis(500);

/// More than everything after the drain grace takes: closing connections, writing the rest of the
/// audit log, and the exit.
const EXIT: Duration = Duration::from_secs(5);

/// A running server.
#[derive(Debug)]
pub struct Running {
    pub(super) tasks: JoinSet<()>,
    pub(super) server: JoinHandle<()>,
    pub(super) health: JoinHandle<()>,
    /// None if no profile has slow signatures.
    pub(super) signing: Option<Threads>,
    pub(super) drainer: Drainer,
    pub(super) config: server::Config,
    /// The number of the last request to reload.
    pub(super) reload_requests: watch::Sender<u64>,
    pub(super) can_reload: bool,
    /// None without a supervisor to notify.
    pub(super) supervision: Option<JoinHandle<()>>,
    /// None without `[audit]`.
    pub(super) audit: Option<Audit>,
    /// None if traces are not exported.
    pub(super) exporter: Option<Exporter>,
}

/// Why a server stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A shutdown was requested.
    Requested,
    /// One of its tasks ended: a bug.
    TaskEnded,
}

/// A request of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Shut down.
    Stop(Stop),
    /// Check the configuration for changes now.
    Reload,
}

/// How urgent a shutdown is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// After the drain delay, for a server behind a load balancer.
    Gently,
    /// Without the drain delay, for a person at a terminal.
    Now,
}

impl Running {
    /// Serves until `next_request` returns a shutdown, then drains: readiness ends immediately,
    /// calls are served during the drain delay, then open calls finish within the drain grace. A
    /// second shutdown request closes the remaining connections.
    pub async fn until(mut self, mut next_request: impl AsyncFnMut() -> Request) -> Ended {
        let (reload_requests, can_reload) = (self.reload_requests.clone(), self.can_reload);
        let audit = self.audit.clone();
        let mut stop = async || loop {
            let request = next_request().await;
            if let (Request::Reload, Some(audit)) = (request, &audit) {
                audit.reopen();
            }
            match (request, can_reload) {
                (Request::Stop(stop), _) => return stop,
                (Request::Reload, true) => {
                    tracing::info!("reload requested; applying changes");
                }
                (Request::Reload, false) => {
                    tracing::info!("reload requested; nothing to reload");
                }
            }
            reload_requests.send_modify(|number| *number += 1);
        };
        let (ended, urgency) = tokio::select! {
            urgency = stop() => (Ended::Requested, urgency),
            _ = self.tasks.join_next() => (Ended::TaskEnded, Stop::Now),
            _ = &mut self.server => (Ended::TaskEnded, Stop::Now),
            _ = &mut self.health => (Ended::TaskEnded, Stop::Now),
            () = finished(self.supervision.as_mut()) => (Ended::TaskEnded, Stop::Now),
        };
        match ended {
            Ended::Requested => tracing::info!("shutdown requested; draining"),
            Ended::TaskEnded => tracing::error!("a task ended unexpectedly; draining"),
        }
        let delay = match urgency {
            Stop::Gently => self.config.drain_delay,
            Stop::Now => Duration::ZERO,
        };
        let in_order = async {
            self.drainer.advance(Phase::Leaving);
            sleep(delay).await;
            self.drainer.advance(Phase::Draining);
            self.server_ends(self.config.drain_grace).await;
        };
        tokio::select! {
            () = in_order => {}
            _ = stop() => tracing::warn!("second signal received; closing remaining connections"),
        }
        self.drainer.advance(Phase::Closing);
        self.server_ends(CUT_GRACE).await;
        drop(self.signing);
        if let Some(audit) = self.audit {
            audit.end().await;
        }
        // The supervisor learns of the shutdown even if it was very short.
        if let Some(supervision) = self.supervision.filter(|it| !it.is_finished()) {
            let _ = timeout(CUT_GRACE, supervision).await;
        }
        if let Some(exporter) = self.exporter {
            exporter.end().await;
        }
        tracing::info!("stopped");
        ended
    }

    /// The longest time from a requested shutdown to the exit.
    pub(super) fn longest_stop(config: &server::Config) -> Duration {
        config.drain_delay + config.drain_grace + EXIT
    }

    /// Waits up to `longest` for all connections to close.
    async fn server_ends(&mut self, longest: Duration) {
        // A finished task must not be polled again: it may have caused the shutdown.
        if !self.server.is_finished() {
            let _ = timeout(longest, &mut self.server).await;
        }
    }
}

/// Waits until the task finishes; indefinitely if there is none.
async fn finished(task: Option<&mut JoinHandle<()>>) {
    match task {
        Some(task) => drop(task.await),
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::drain;

    #[tokio::test(start_paused = true)]
    async fn any_task_that_ends_shuts_the_server_down() {
        for ending in 0..4 {
            let task = |number| async move {
                if number != ending {
                    pending::<()>().await;
                }
            };
            let (drainer, drain) = drain();
            let mut tasks = JoinSet::new();
            tasks.spawn(pending());
            tasks.spawn(task(0));
            let running = Running {
                tasks,
                server: tokio::spawn(task(1)),
                health: tokio::spawn(task(2)),
                signing: None,
                drainer,
                config: server::Config::default(),
                reload_requests: watch::Sender::new(0),
                can_reload: false,
                supervision: Some(tokio::spawn(task(3))),
                audit: None,
                exporter: None,
            };
            let ended = timeout(Duration::from_secs(7), running.until(async || pending().await));
            assert_eq!(ended.await, Ok(Ended::TaskEnded), "{ending}");
            assert_eq!(drain.phase(), Phase::Closing);
        }
    }
}
