//! What clients can make us log at will: a line a minute for each network and cause.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::field::display;

use super::{frames::Excess, http2::Ended, places::Denied};
use crate::{auth::peer::Peer, listen::network};

/// A line of the same network and cause is not written again for that long.
const QUIET: Duration = Duration::from_secs(60);

/// Pairs of network and cause that are remembered. While there are more, nothing is logged of
/// those: strangers must fill neither the memory nor the log.
const REMEMBERED: usize = 1_024;

/// What has been logged of late, for all connections.
#[derive(Clone, Debug, Default)]
pub(super) struct News(Arc<Mutex<HashMap<(IpAddr, &'static str), Line>>>);

#[derive(Debug)]
struct Line {
    at: Instant,
    /// Since then.
    unlogged: u64,
}

impl News {
    /// How often it has happened since it was last logged, this time included; none where it is
    /// not to be logged now.
    pub(super) fn since_logged(&self, address: IpAddr, cause: &'static str) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, key) = (Instant::now(), (network(address), cause));
        let is_recent = |line: &Line| now.duration_since(line.at) < QUIET;
        if let Some(line) = lines.get_mut(&key) {
            line.unlogged += 1;
            if is_recent(line) {
                return None;
            }
            let times = line.unlogged;
            *line = Line { at: now, unlogged: 0 };
            return Some(times);
        }
        if lines.len() >= REMEMBERED {
            lines.retain(|_, line| is_recent(line));
        }
        if lines.len() >= REMEMBERED {
            return None;
        }
        lines.insert(key, Line { at: now, unlogged: 0 });
        Some(1)
    }
}

/// What is logged of one connection, with who is at its other end.
pub(super) struct ConnectionLog {
    peer: Peer,
    news: News,
}

impl ConnectionLog {
    pub(super) const fn new(peer: Peer, news: News) -> Self {
        Self { peer, news }
    }

    pub(super) const fn peer(&self) -> &Peer {
        &self.peer
    }

    fn since_logged(&self, cause: &'static str) -> Option<u64> {
        self.news.since_logged(self.peer.address, cause)
    }

    /// There is no place for it.
    pub(super) fn refused(&self, denied: Denied) {
        let limit = denied.as_str();
        if let Some(refused) = self.since_logged(limit) {
            let (address, name) = (self.peer.address.to_canonical(), self.name());
            tracing::warn!(
                %address, name, limit, refused, "connections are refused: the limit is reached"
            );
        }
    }

    /// Its client has ended it, or made us end it.
    pub(super) fn ended(&self, ended: &Result<Ended, Excess>) {
        let (address, name) = (self.peer.address.to_canonical(), self.name());
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
            let (address, name) = (self.peer.address.to_canonical(), self.name());
            tracing::warn!(
                %address, name, "a connection is closed: its client does not authenticate"
            );
        }
    }

    /// It is cut at the end of its grace, with so many calls under way.
    pub(super) fn time_is_up(&self, calls: usize) {
        if self.since_logged("time_is_up").is_some() {
            let (address, name) = (self.peer.address.to_canonical(), self.name());
            tracing::info!(%address, name, calls, "a connection is cut: its time is up");
        }
    }

    fn name(&self) -> Option<impl tracing::Value> {
        self.peer.name.as_ref().map(display)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_network_and_cause_is_logged_once_a_minute_and_the_memory_is_bounded() {
        let news = News::default();
        let address = |last: u32| IpAddr::V4((0x0a00_0000 | last).into());
        assert_eq!(news.since_logged(address(0), "a"), Some(1));
        assert_eq!(news.since_logged(address(0), "a"), None);
        assert_eq!(news.since_logged(address(0), "b"), Some(1));
        let ipv6 = |text: &str| news.since_logged(text.parse().unwrap(), "a");
        assert_eq!([ipv6("2001:db8::1"), ipv6("2001:db8::2")], [Some(1), None]);
        advance(QUIET).await;
        assert_eq!(news.since_logged(address(0), "a"), Some(2));
        for last in 1..5_000 {
            news.since_logged(address(last), "a");
        }
        assert_eq!(news.0.lock().unwrap().len(), REMEMBERED);
        assert_eq!(news.since_logged(address(4_999), "a"), None);
    }
}
