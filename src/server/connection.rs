//! A connection, from its preface until it is closed.

use std::{
    future::pending,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{
    Calls,
    calls::OpenCalls,
    exceeded::ExceededLimit,
    exchange::Exchanges,
    http2::{Ended, Http2},
    limits::Limits,
    log::ConnectionLog,
    slots::{Denied, Slot},
    socket::{Driver, Io, Socket},
    unread::ReadMonitor,
};
use crate::{
    drain::{Drain, Phase, lifetime::Lifetime},
    listen::connection_limit::Permit,
    rpc::layers::Guarded,
};

/// How long the calls of a connection may continue after its GOAWAY. This is longer than any call
/// waits for a grant.
const GRACE: Duration = Duration::from_secs(12);

/// The grace period for a client whose certificate is no longer trusted.
const UNTRUSTED_GRACE: Duration = Duration::from_secs(9);

/// The grace period for a connection without authenticated calls.
const SHORT_GRACE: Duration = Duration::from_secs(1);

/// How long a connection without a matching entry may stay open without an authenticated call, if
/// callers need an entry.
const UNKNOWN_CALLER_TIMEOUT: Duration = Duration::from_secs(10);

/// The time limit for sending the refusal of a connection.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(100);

/// A connection and its state.
pub(super) struct Connection<I: Io, S> {
    driver: Driver<I>,
    http2: Pin<Box<Http2<I, S>>>,
    calls: OpenCalls,
    exchanges: Arc<Exchanges>,
    monitor: ReadMonitor,
    log: ConnectionLog,
    lifetime: Lifetime,
    age: Duration,
    drain: Drain,
}

/// Why a connection is shut down.
enum CloseReason {
    /// The server drains. The connection may stay open until the drain ends.
    Draining,
    /// The connection has reached its maximum age.
    Expired,
    /// The client's certificate is no longer trusted.
    Untrusted,
    /// Its calls repeatedly fail to authenticate.
    Unauthenticated,
    /// No entry matches the client, and it made no authenticated call for a while.
    Unknown,
}

impl<I: Io, S: Calls> Connection<I, S> {
    pub(super) fn new(
        (socket, driver): (Socket<I>, Driver<I>),
        service: Guarded<S>,
        exchanges: Exchanges,
        lifetime: Lifetime,
        log: ConnectionLog,
        limits: &Limits,
        drain: Drain,
    ) -> Self {
        let (exchanges, calls) = (Arc::new(exchanges), OpenCalls::default());
        let monitor = ReadMonitor::new(exchanges.unread.clone(), limits.stall);
        let (streams, shared) = (limits.streams_per_connection, Arc::clone(&exchanges));
        let http2 = Http2::new(socket, streams, service, calls.new_calls(), shared);
        let age = limits.connection_age.mul_f64(1.0 - 0.1 * fastrand::f64());
        Self {
            driver,
            http2: Box::pin(http2),
            calls,
            exchanges,
            monitor,
            log,
            lifetime,
            age,
            drain,
        }
    }

    /// Waits for the client's preface until `deadline`, unless the connection is displaced. Returns
    /// whether the preface has arrived. Calls are not started yet.
    pub(super) async fn wait_for_preface(&mut self, permit: &Permit, deadline: Instant) -> bool {
        let (drain, read) = (self.drain.clone(), self.driver.bytes_read().clone());
        tokio::select! {
            biased;
            () = read.preface() => true,
            ended = self.run_without_calls() => {
                self.report(&ended);
                false
            }
            // This task may not have run for a while and may have read the preface only now.
            () = sleep_until(deadline) => read.has_preface(),
            () = permit.displaced() => read.has_preface(),
            () = drain.wait(Phase::Draining) => false,
        }
    }

    /// Tells the client that its connection is refused.
    pub(super) async fn refuse(mut self, denied: Denied) {
        self.log.refused(denied);
        self.http2.as_mut().refuse();
        let _ = timeout(REFUSAL_TIMEOUT, self.run_without_calls()).await;
    }

    /// Serves the connection. When its client becomes `untrusted`, it is shut down and closed soon
    /// after.
    pub(super) async fn serve(mut self, mut slot: Slot, untrusted: impl Future<Output = ()>) {
        let mut untrusted = pin!(untrusted);
        let (drain, exchanges) = (self.drain.clone(), Arc::clone(&self.exchanges));
        exchanges.unread.counts_for(slot.unread());
        let (age, peer) = (sleep(self.age), self.log.peer().clone());
        let lifetime = self.lifetime.clone();
        let unknown_timeout = async {
            while slot.is_unknown() {
                sleep(
                    UNKNOWN_CALLER_TIMEOUT
                        .saturating_sub(lifetime.time_without_authenticated_calls()),
                )
                .await;
                if !slot.is_still_unknown(&peer) {
                    exchanges.unread.counts_for(slot.unread());
                } else if lifetime.time_without_authenticated_calls() >= UNKNOWN_CALLER_TIMEOUT {
                    return;
                }
            }
            pending::<()>().await;
        };
        let reason = tokio::select! {
            ended = self.run() => return self.report(&ended),
            () = drain.wait(Phase::Draining) => CloseReason::Draining,
            () = age => CloseReason::Expired,
            () = untrusted.as_mut() => CloseReason::Untrusted,
            () = exchanges.refusals.close_requested() => CloseReason::Unauthenticated,
            () = unknown_timeout => CloseReason::Unknown,
        };
        self.http2.as_mut().go_away();
        let grace = match reason {
            CloseReason::Draining => None,
            CloseReason::Expired => Some(GRACE),
            CloseReason::Untrusted => Some(UNTRUSTED_GRACE),
            CloseReason::Unauthenticated => {
                self.log.unauthenticated();
                Some(SHORT_GRACE)
            }
            CloseReason::Unknown => {
                self.log.unknown(lifetime.had_authenticated_calls());
                Some(SHORT_GRACE)
            }
        };
        let is_trusted = !matches!(reason, CloseReason::Untrusted);
        let expired = async {
            let grace_ends = async {
                let Some(grace) = grace else { return pending().await };
                sleep(grace).await;
                // The client may have sent an authenticated call before it read the GOAWAY.
                let _ = timeout(GRACE, lifetime.authenticated_calls_finished()).await;
            };
            let untrusted_grace_ends = async {
                if is_trusted {
                    untrusted.await;
                }
                sleep(UNTRUSTED_GRACE).await;
            };
            tokio::select! {
                () = grace_ends => {}
                () = untrusted_grace_ends => {}
            }
        };
        if grace.is_some() {
            self.lifetime.end();
        }
        tokio::select! {
            ended = self.run() => self.report(&ended),
            () = drain.wait(Phase::Closing) => {}
            () = expired => {
                let calls = self.calls.len();
                exchanges.resets.grace(calls);
                self.log.grace_expired(calls);
            }
        }
    }

    async fn run(&mut self) -> Result<Ended, ExceededLimit> {
        self.driver.run(self.http2.as_mut(), &mut self.calls, &mut self.monitor).await
    }

    /// Runs the connection only. New calls are kept but not started.
    async fn run_without_calls(&mut self) -> Result<Ended, ExceededLimit> {
        let mut none = OpenCalls::default();
        self.driver.run(self.http2.as_mut(), &mut none, &mut self.monitor).await
    }

    fn report(&self, ended: &Result<Ended, ExceededLimit>) {
        if matches!(ended, Err(ExceededLimit::Unread)) {
            self.exchanges.resets.unread(self.exchanges.unread.streams());
        }
        self.log.ended(ended);
    }
}
