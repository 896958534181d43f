//! What is logged of connections that we end, with who is at their other end.

use super::{frames::Excess, http2::Ended, places::Denied};
use crate::{auth::peer::Peer, listen::log_limit::LogLimit};

/// What is logged of one connection, with who is at its other end.
pub(super) struct ConnectionLog {
    peer: Peer,
    log_limit: LogLimit,
}

impl ConnectionLog {
    pub(super) const fn new(peer: Peer, log_limit: LogLimit) -> Self {
        Self { peer, log_limit }
    }

    pub(super) const fn peer(&self) -> &Peer {
        &self.peer
    }

    fn since_logged(&self, cause: &'static str) -> Option<u64> {
        self.log_limit.since_logged(self.peer.from, cause)
    }

    /// There is no place for it.
    pub(super) fn refused(&self, denied: Denied) {
        let limit = denied.as_str();
        if let Some(refused) = self.since_logged(limit) {
            let (address, name) = (self.peer.from, self.name());
            tracing::warn!(
                %address, name, limit, refused, "connections are refused: the limit is reached"
            );
        }
    }

    /// Its client has ended it, or made us end it.
    pub(super) fn ended(&self, ended: &Result<Ended, Excess>) {
        let (address, name) = (self.peer.from, self.name());
        match ended {
            Ok(Ended::Closed) => {}
            Ok(Ended::NoPong) => {
                if self.since_logged("no_pong").is_some() {
                    tracing::info!(
                        %address, name, "a connection is cut: its client does not answer pings"
                    );
                }
            }
            Ok(Ended::Failed(error)) => {
                if error.is_library()
                    && let Some(reason) = error.reason()
                    && self.since_logged("breaks_http2").is_some()
                {
                    tracing::warn!(
                        %address, name, ?reason, %error,
                        "a connection is cut: its client breaks HTTP/2"
                    );
                }
            }
            Err(excess) => {
                let limit = excess.as_str();
                if self.since_logged(limit).is_some() {
                    tracing::warn!(
                        %address, name, limit, "a connection is cut: its client exceeds a limit"
                    );
                }
            }
        }
    }

    /// It is closed since its client does not authenticate.
    pub(super) fn unauthenticated(&self) {
        if self.since_logged("unauthenticated").is_some() {
            let (address, name) = (self.peer.from, self.name());
            tracing::warn!(
                %address, name, "a connection is closed: its client does not authenticate"
            );
        }
    }

    /// It is closed since it has no name, and no call of it was authenticated for a while.
    pub(super) fn nameless(&self, had_authenticated_calls: bool) {
        if had_authenticated_calls {
            // An idle client of a good caller.
            tracing::debug!(address = %self.peer.from, "a connection without authenticated calls is closed");
        } else {
            self.unauthenticated();
        }
    }

    /// It is cut at the end of its grace, with so many calls under way.
    pub(super) fn time_is_up(&self, calls: usize) {
        if self.since_logged("time_is_up").is_some() {
            let (address, name) = (self.peer.from, self.name());
            tracing::info!(%address, name, calls, "a connection is cut: its time is up");
        }
    }

    fn name(&self) -> Option<impl tracing::Value> {
        self.peer.name.as_ref().map(tracing::field::display)
    }
}
