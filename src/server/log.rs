//! Logs connections that the server closes, with their peers.

use super::{exceeded::ExceededLimit, http2::Ended, slots::Denied};
use crate::{auth::peer::Peer, listen::log_limit::LogLimit};

/// Logs events of one connection, with its peer.
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

    /// The connection is refused.
    pub(super) fn refused(&self, denied: Denied) {
        let limit = denied.as_str();
        if let Some(refused) = self.since_logged(limit) {
            let (address, name) = (self.peer.from, self.name());
            tracing::warn!(
                %address, name, limit, refused, "connection limit reached; refusing connections"
            );
        }
    }

    /// The connection ended.
    pub(super) fn ended(&self, ended: &Result<Ended, ExceededLimit>) {
        let (address, name) = (self.peer.from, self.name());
        match ended {
            Ok(Ended::Closed) => {}
            Ok(Ended::NoPong) => {
                if self.since_logged("no_pong").is_some() {
                    tracing::info!(
                        %address, name, "connection closed: the client did not respond to a ping"
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
                        "connection closed: the client violated HTTP/2"
                    );
                }
            }
            Err(exceeded) => {
                let limit = exceeded.as_str();
                if self.since_logged(limit).is_some() {
                    tracing::warn!(
                        %address, name, limit, "connection closed: the client exceeded a limit"
                    );
                }
            }
        }
    }

    /// The connection is closed because its client does not authenticate.
    pub(super) fn unauthenticated(&self) {
        if self.since_logged("unauthenticated").is_some() {
            let (address, name) = (self.peer.from, self.name());
            tracing::warn!(
                %address, name, "connection closed: the client did not authenticate"
            );
        }
    }

    /// The connection is closed because its client matches no entry and made no authenticated call
    /// for a while.
    pub(super) fn unknown(&self, had_authenticated_calls: bool) {
        if had_authenticated_calls {
            // An idle client of a legitimate caller.
            tracing::debug!(address = %self.peer.from, "connection closed: no authenticated calls");
        } else {
            self.unauthenticated();
        }
    }

    /// The connection is closed at the end of its grace period, with this many running calls.
    pub(super) fn grace_expired(&self, calls: usize) {
        if self.since_logged("grace_expired").is_some() {
            let (address, name) = (self.peer.from, self.name());
            tracing::info!(%address, name, calls, "connection closed: its grace period expired");
        }
    }

    fn name(&self) -> Option<impl tracing::Value> {
        self.peer.name.as_ref().map(tracing::field::display)
    }
}
