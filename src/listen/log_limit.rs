//! What anybody who connects can make us log: a line a minute for each network and cause.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::remote::Remote;

/// A line of the same network and cause is not written again for that long.
const QUIET: Duration = Duration::from_secs(60);

/// Pairs of network and cause that are remembered. While there are more, nothing is logged of
/// those: strangers must fill neither the memory nor the log.
const REMEMBERED: usize = 1_024;

/// What was logged in the last minute.
#[derive(Clone, Debug, Default)]
pub struct LogLimit(Arc<Mutex<HashMap<(Remote, &'static str), Line>>>);

#[derive(Debug)]
struct Line {
    at: Instant,
    /// Since then.
    unlogged: u64,
}

impl LogLimit {
    /// How often it has happened since it was last logged, this time included; none where it is
    /// not to be logged now.
    #[must_use]
    pub fn since_logged(&self, from: impl Into<Remote>, cause: &'static str) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, key) = (Instant::now(), (from.into().network(), cause));
        let is_recent = |line: &Line| now.duration_since(line.at) < QUIET;
        let unlogged = lines.get_mut(&key).map_or(0, |line| {
            line.unlogged += 1;
            line.unlogged - 1
        });
        if lines.get(&key).is_some_and(is_recent) {
            return None;
        }
        if lines.len() >= REMEMBERED {
            lines.retain(|_, line| is_recent(line));
        }
        if lines.len() >= REMEMBERED {
            return None;
        }
        lines.insert(key, Line { at: now, unlogged: 0 });
        Some(unlogged + 1)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_network_and_cause_is_logged_once_a_minute_and_the_memory_is_bounded() {
        let log_limit = LogLimit::default();
        let address = |last: u32| IpAddr::V4((0x0a00_0000 | last).into());
        assert_eq!(log_limit.since_logged(address(0), "a"), Some(1));
        assert_eq!(log_limit.since_logged(address(0), "a"), None);
        assert_eq!(log_limit.since_logged(address(0), "b"), Some(1));
        let ipv6 = |text: &str| log_limit.since_logged(text.parse::<IpAddr>().unwrap(), "a");
        assert_eq!([ipv6("2001:db8::1"), ipv6("2001:db8::2")], [Some(1), None]);
        advance(QUIET).await;
        assert_eq!(log_limit.since_logged(address(0), "a"), Some(2));
        for last in 1..5_000 {
            let _ = log_limit.since_logged(address(last), "a");
        }
        assert_eq!(log_limit.0.lock().unwrap().len(), REMEMBERED);
        assert_eq!(log_limit.since_logged(address(4_999), "a"), None);
        advance(QUIET).await;
        assert_eq!(log_limit.since_logged(address(0), "a"), Some(1));
        assert_eq!(log_limit.0.lock().unwrap().len(), 1, "what is old makes room");
    }
}
