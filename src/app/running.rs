//! A server at work, and how it is brought to its end.

use std::time::Duration;

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

use crate::{
    audit::Audit,
    drain::{Drainer, Phase},
    server,
    token::pool::Threads,
};

/// How long cut work may take to notice.
const CUT_GRACE: Duration = Duration::from_millis(500);

/// A server at work.
#[derive(Debug)]
pub struct Running {
    pub(super) tasks: JoinSet<()>,
    pub(super) server: JoinHandle<()>,
    pub(super) health: JoinHandle<()>,
    /// None where no signature is slow.
    pub(super) signing: Option<Threads>,
    pub(super) drainer: Drainer,
    pub(super) config: server::Config,
    /// None where there is nothing to reload.
    pub(super) reload_asked: Option<watch::Sender<()>>,
    /// None where nothing is recorded.
    pub(super) audit: Option<Audit>,
}

/// What ended a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was told to stop.
    Told,
    /// A task of its own ended it: a bug.
    TaskEnded,
}

/// What a server is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// To stop.
    Stop(Stop),
    /// To look for changes of its configuration now.
    Reload,
}

/// How urgently a server is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// As a fleet does: after the drain delay.
    Gently,
    /// As a person at a terminal does: without it.
    Now,
}

impl Running {
    /// Serves until `ask` says to stop, then leaves in order: not ready at once, every call
    /// served as before for the drain delay, then open work brought to its end within the
    /// grace. A second time cuts at once.
    pub async fn until(mut self, mut ask: impl AsyncFnMut() -> Ask) -> Ended {
        let reload_asked = self.reload_asked.take();
        let audit = self.audit.clone();
        let mut stop = async || loop {
            let asked = ask().await;
            if let (Ask::Reload, Some(audit)) = (asked, &audit) {
                audit.reopen();
            }
            match (asked, &reload_asked) {
                (Ask::Stop(stop), _) => return stop,
                (Ask::Reload, Some(reload)) => {
                    tracing::info!("told to reload: what changed is applied");
                    reload.send_replace(());
                }
                (Ask::Reload, None) => {
                    tracing::info!("told to reload, and there is nothing to reload");
                }
            }
        };
        let (ended, urgency) = tokio::select! {
            urgency = stop() => (Ended::Told, urgency),
            _ = self.tasks.join_next() => (Ended::TaskEnded, Stop::Now),
            _ = &mut self.server => (Ended::TaskEnded, Stop::Now),
            _ = &mut self.health => (Ended::TaskEnded, Stop::Now),
        };
        match ended {
            Ended::Told => tracing::info!("told to stop; draining"),
            Ended::TaskEnded => tracing::error!("a task ended by itself; draining"),
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
            _ = stop() => tracing::warn!("told to stop again; what is left is cut"),
        }
        self.drainer.advance(Phase::Closing);
        self.server_ends(CUT_GRACE).await;
        drop(self.signing);
        if let Some(audit) = self.audit {
            audit.end().await;
        }
        tracing::info!("stopped");
        ended
    }

    /// Waits until no connection is left, at most that long.
    async fn server_ends(&mut self, longest: Duration) {
        // What has ended must not be waited for again: it may be what ended all.
        if !self.server.is_finished() {
            let _ = timeout(longest, &mut self.server).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;
    use crate::drain::drain;

    #[tokio::test(start_paused = true)]
    async fn whatever_task_ends_by_itself_ends_the_rest_in_order() {
        for ending in 0..3 {
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
                reload_asked: None,
                audit: None,
            };
            let ended = timeout(Duration::from_secs(7), running.until(async || pending().await));
            assert_eq!(ended.await, Ok(Ended::TaskEnded), "{ending}");
            assert_eq!(drain.phase(), Phase::Closing);
        }
    }
}
