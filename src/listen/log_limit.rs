//! Limits log lines that any client can cause to one a minute per network and cause.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::remote::Remote;

/// The minimum interval between lines for the same network and cause.
const LOG_PERIOD: Duration = Duration::from_secs(60);

/// The maximum number of tracked pairs of network and cause. Further pairs are not logged, so that
/// clients can fill neither the memory nor the log.
const MAX_TRACKED: usize = 1_024;

/// Tracks what was logged in the last minute.
#[derive(Clone, Debug, Default)]
pub struct LogLimit(Arc<Mutex<HashMap<(Remote, &'static str), Line>>>);

#[derive(Debug)]
struct Line {
    at: Instant,
    /// Occurrences since then.
    unlogged: u64,
}

impl LogLimit {
    /// Counts an occurrence. If it is to be logged, returns the number of occurrences since the
    /// last log line, including this one.
    #[must_use]
    pub fn since_logged(&self, from: impl Into<Remote>, cause: &'static str) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, key) = (Instant::now(), (from.into().network(), cause));
        let is_recent = |line: &Line| now.duration_since(line.at) < LOG_PERIOD;
        let unlogged = lines.get_mut(&key).map_or(0, |line| {
            line.unlogged += 1;
            line.unlogged - 1
        });
        if lines.get(&key).is_some_and(is_recent) {
            return None;
        }
        if lines.len() >= MAX_TRACKED {
            lines.retain(|_, line| is_recent(line));
        }
        if lines.len() >= MAX_TRACKED {
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
    async fn pairs_are_logged_once_a_minute_in_bounded_memory() {
        let log_limit = LogLimit::default();
        let address = |last: u32| IpAddr::V4((0x0a00_0000 | last).into());
        assert_eq!(log_limit.since_logged(address(0), "a"), Some(1));
        assert_eq!(log_limit.since_logged(address(0), "a"), None);
        assert_eq!(log_limit.since_logged(address(0), "b"), Some(1));
        let ipv6 = |text: &str| log_limit.since_logged(text.parse::<IpAddr>().unwrap(), "a");
        assert_eq!([ipv6("2001:db8::1"), ipv6("2001:db8::2")], [Some(1), None]);
        advance(LOG_PERIOD).await;
        assert_eq!(log_limit.since_logged(address(0), "a"), Some(2));
        for last in 1..5_000 {
            let _ = log_limit.since_logged(address(last), "a");
        }
        assert_eq!(log_limit.0.lock().unwrap().len(), MAX_TRACKED);
        assert_eq!(log_limit.since_logged(address(4_999), "a"), None);
        advance(LOG_PERIOD).await;
        assert_eq!(log_limit.since_logged(address(0), "a"), Some(1));
        assert_eq!(log_limit.0.lock().unwrap().len(), 1, "old entries are removed");
    }
}
