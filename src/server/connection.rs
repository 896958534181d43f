//! One connection, from its preface to its end.

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
    exchange::Exchanges,
    frames::Excess,
    http2::{Ended, Http2},
    limits::Limits,
    log::ConnectionLog,
    places::{Denied, Place},
    socket::{Driver, Io, Socket},
    unread::Watch,
};
use crate::{
    drain::{Drain, Phase, lifetime::Lifetime},
    listen::crowd::Entry,
    rpc::layers::Guarded,
};

/// How long the calls of a connection may go on once it has been told to go. Longer than any
/// call waits for a grant.
const GRACE: Duration = Duration::from_secs(12);

/// The same for a client whose certificate no longer holds.
const UNTRUSTED_GRACE: Duration = Duration::from_secs(9);

/// The same for a connection that is closed because its calls do not authenticate.
const SHORT_GRACE: Duration = Duration::from_secs(1);

/// How long a connection may be open whose peer is in no entry, where callers must be in one,
/// without a call that a bearer token authenticates.
const STRANGERS_TIME: Duration = Duration::from_secs(10);

/// How long the refusal of a connection may take to be sent.
const REFUSAL_TIMEOUT: Duration = Duration::from_millis(100);

/// One connection, from its handshake to its end.
pub(super) struct Connection<I: Io, S> {
    driver: Driver<I>,
    http2: Pin<Box<Http2<I, S>>>,
    calls: OpenCalls,
    exchanges: Arc<Exchanges>,
    watch: Watch,
    log: ConnectionLog,
    lifetime: Lifetime,
    age: Duration,
    drain: Drain,
}

/// Why a connection is told to go.
enum Farewell {
    /// The server drains; its end cuts what is left.
    Draining,
    /// This connection's time is up.
    Expired,
    /// Its client's certificate no longer holds.
    Untrusted,
    /// Its calls do not authenticate.
    Unauthenticated,
    /// It has no name, and for a while no call of it was authenticated.
    Nameless,
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
        let watch = Watch::new(exchanges.unread.clone(), limits.stall);
        let (streams, shared) = (limits.streams_per_connection, Arc::clone(&exchanges));
        let http2 = Http2::new(socket, streams, service, calls.arrivals(), shared);
        let age = limits.connection_age.mul_f64(1.0 - 0.1 * fastrand::f64());
        Self { driver, http2: Box::pin(http2), calls, exchanges, watch, log, lifetime, age, drain }
    }

    /// Waits for the client's preface, until `due` at most, while its `turn` may go to another.
    /// Whether it has come. Calls that come with it wait for a place.
    pub(super) async fn begins(&mut self, turn: &Entry, due: Instant) -> bool {
        let (drain, read) = (self.drain.clone(), self.driver.bytes_read().clone());
        tokio::select! {
            biased;
            () = read.preface() => true,
            ended = self.run_without_calls() => {
                self.report(&ended);
                false
            }
            // Who was not let run for a while may have read it only just now.
            () = sleep_until(due) => read.has_preface(),
            () = turn.gives_way() => read.has_preface(),
            () = drain.wait(Phase::Draining) => false,
        }
    }

    /// Tells the client that there is no place for it.
    pub(super) async fn refuse(mut self, denied: Denied) {
        self.log.refused(denied);
        self.http2.as_mut().refuse();
        let _ = timeout(REFUSAL_TIMEOUT, self.run_without_calls()).await;
    }

    /// Serves it to its end. Once its client is `untrusted` it is told to go, and cut soon after.
    pub(super) async fn serve(mut self, mut place: Place, untrusted: impl Future<Output = ()>) {
        let mut untrusted = pin!(untrusted);
        let (drain, exchanges) = (self.drain.clone(), Arc::clone(&self.exchanges));
        exchanges.unread.counts_for(place.unread());
        let (age, peer) = (sleep(self.age), self.log.peer().clone());
        let lifetime = self.lifetime.clone();
        let strangers_end = async {
            while place.is_strangers() {
                sleep(STRANGERS_TIME.saturating_sub(lifetime.time_without_authenticated_calls()))
                    .await;
                if !place.is_still_strangers(&peer) {
                    exchanges.unread.counts_for(place.unread());
                } else if lifetime.time_without_authenticated_calls() >= STRANGERS_TIME {
                    return;
                }
            }
            pending::<()>().await;
        };
        let farewell = tokio::select! {
            ended = self.run() => return self.report(&ended),
            () = drain.wait(Phase::Draining) => Farewell::Draining,
            () = age => Farewell::Expired,
            () = untrusted.as_mut() => Farewell::Untrusted,
            () = exchanges.refusals.closed() => Farewell::Unauthenticated,
            () = strangers_end => Farewell::Nameless,
        };
        self.http2.as_mut().go_away();
        let grace = match farewell {
            Farewell::Draining => None,
            Farewell::Expired => Some(GRACE),
            Farewell::Untrusted => Some(UNTRUSTED_GRACE),
            Farewell::Unauthenticated => {
                self.log.unauthenticated();
                Some(SHORT_GRACE)
            }
            Farewell::Nameless => {
                self.log.nameless(lifetime.had_authenticated_calls());
                Some(SHORT_GRACE)
            }
        };
        let is_trusted = !matches!(farewell, Farewell::Untrusted);
        let expired = async {
            let ends = async {
                let Some(grace) = grace else { return pending().await };
                sleep(grace).await;
                // An authenticated call may have arrived before the client read the GOAWAY.
                let _ = timeout(GRACE, lifetime.authenticated_calls_finished()).await;
            };
            let ends_untrusted = async {
                if is_trusted {
                    untrusted.await;
                }
                sleep(UNTRUSTED_GRACE).await;
            };
            tokio::select! {
                () = ends => {}
                () = ends_untrusted => {}
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
                exchanges.cut.grace(calls);
                self.log.time_is_up(calls);
            }
        }
    }

    async fn run(&mut self) -> Result<Ended, Excess> {
        self.driver.run(self.http2.as_mut(), &mut self.calls, &mut self.watch).await
    }

    /// Runs the connection alone: calls that arrive are kept, and not begun.
    async fn run_without_calls(&mut self) -> Result<Ended, Excess> {
        let mut none = OpenCalls::default();
        self.driver.run(self.http2.as_mut(), &mut none, &mut self.watch).await
    }

    fn report(&self, ended: &Result<Ended, Excess>) {
        if matches!(ended, Err(Excess::Unread)) {
            self.exchanges.cut.unread(self.exchanges.unread.streams());
        }
        self.log.ended(ended);
    }
}
