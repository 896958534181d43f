//! What a running server reports to systemd: its readiness, reloads, shutdown and heartbeat.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    clock,
    drain::{Drain, Phase},
    ready::{Changes, Ready},
    systemd::{State, Systemd},
};

/// The pause between two status lines: grants may change many times a second.
const PAUSE: Duration = Duration::from_millis(100);

/// A reload counts as finished after this: a part may wait for an upstream that does not respond.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// The requests to reload, by number, and how far each part has followed them.
pub(super) struct Reloads {
    pub(super) requests: watch::Receiver<u64>,
    /// The last request that each part has finished.
    pub(super) finished: Vec<watch::Receiver<u64>>,
}

/// Sends states to systemd, and logs when that starts to fail.
#[derive(Clone)]
pub(super) struct Reporter {
    systemd: Systemd,
    failing: Arc<AtomicBool>,
}

/// Reports the state of a server.
pub(super) struct Supervision {
    pub(super) reporter: Reporter,
    pub(super) ready: Arc<Ready>,
    pub(super) drain: Drain,
    pub(super) reloads: Reloads,
    /// The longest time from the start of a shutdown to the exit.
    pub(super) longest_stop: Duration,
}

impl Supervision {
    /// Reports until all connections are being closed.
    pub(super) async fn run(mut self) {
        let mut changes = self.ready.changes();
        let (mut is_started, mut reported) = (false, String::new());
        while !self.drain.reached(Phase::Leaving) {
            let mut message = Vec::new();
            if !is_started && self.ready.is_ready() {
                is_started = true;
                message.push(State::Ready);
            }
            let summary = self.ready.summary();
            if !message.is_empty() || summary != reported {
                message.push(State::Status(summary.clone()));
                reported = summary;
                self.reporter.report(&message).await;
            }
            tokio::select! {
                () = self.drain.wait(Phase::Leaving) => {}
                () = changed(&self.ready, &mut changes) => {}
                // Before the start has finished, a reload must not report it as finished.
                Ok(()) = self.reloads.requests.changed(), if is_started => self.reload().await,
            }
        }
        self.stop().await;
    }

    async fn reload(&mut self) {
        let status = State::Status("reloading".to_owned());
        self.reporter.report(&[State::Reloading(clock::monotonic_micros()), status]).await;
        tokio::select! {
            () = self.drain.wait(Phase::Leaving) => return,
            _ = timeout(RELOAD_TIMEOUT, self.reloads.finish()) => {}
        }
        self.reporter.report(&[State::Ready, State::Status(self.ready.summary())]).await;
    }

    async fn stop(&self) {
        let status = |phase| State::Status(status_of(phase).to_owned());
        let mut phase = self.drain.phase();
        let longest = State::ExtendTimeout(self.longest_stop);
        self.reporter.report(&[State::Stopping, longest, status(phase)]).await;
        for next in [Phase::Draining, Phase::Closing] {
            self.drain.wait(next).await;
            if self.drain.phase() > phase {
                phase = self.drain.phase();
                self.reporter.report(&[status(phase)]).await;
            }
        }
    }
}

impl Reporter {
    pub(super) fn new(systemd: Systemd) -> Self {
        Self { systemd, failing: Arc::default() }
    }

    /// The heartbeat of a server with a watchdog; none without.
    pub(super) fn heartbeat(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        let limit = self.systemd.watchdog()?;
        Some(beat(self.clone(), limit))
    }

    async fn report(&self, states: &[State]) {
        let sent = self.systemd.notify(states).await;
        let was_failing = self.failing.swap(sent.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (sent, was_failing) {
            tracing::warn!(%error, "cannot notify systemd");
        }
    }
}

/// Reports twice within `limit`, indefinitely, that the runtime runs tasks. This is a task like
/// those that serve calls and `/livez`: it stops when the runtime's threads are stuck.
async fn beat(reporter: Reporter, limit: Duration) {
    let mut beats = interval((limit / 2).max(Duration::from_millis(1)));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        reporter.report(&[State::Watchdog]).await;
    }
}

impl Reloads {
    /// Waits until every part has finished the last request.
    async fn finish(&mut self) {
        let number = *self.requests.borrow_and_update();
        for finished in &mut self.finished {
            // A part that has ended will finish nothing more.
            let _ = finished.wait_for(|it| *it >= number).await;
        }
    }
}

/// Waits for a change, and for those that follow within the pause.
async fn changed(ready: &Ready, changes: &mut Changes) {
    ready.changed(changes).await;
    sleep(PAUSE).await;
}

const fn status_of(phase: Phase) -> &'static str {
    match phase {
        Phase::Serving => "serving",
        Phase::Leaving => "shutting down: all calls are still served",
        Phase::Draining => "shutting down: open calls finish",
        Phase::Closing => "shutting down: closing remaining connections",
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use tokio::{net::UnixDatagram, time::Instant};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn idle_server_beats_twice_in_each_watchdog_period() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let systemd = Systemd::from_env(|name| match name {
            "NOTIFY_SOCKET" => Some(path.clone().into()),
            "WATCHDOG_USEC" => Some(OsString::from("30000000")),
            _ => None,
        });
        let reporter = Reporter::new(systemd.unwrap().unwrap());
        tokio::spawn(reporter.heartbeat().unwrap());
        let start = Instant::now();
        for beat in 0..240 {
            let mut message = [0; 64];
            let length = socket.recv(&mut message).await.unwrap();
            assert_eq!(&message[..length], b"WATCHDOG=1\n");
            assert_eq!(start.elapsed(), beat * Duration::from_secs(15));
        }
    }
}
