//! The back-off between attempts to reach the agent.

use std::time::Duration;

const MIN: Duration = Duration::from_secs(1);

const MAX: Duration = Duration::from_secs(30);

/// How long a stream must last to reset the back-off. An agent that ends each call after a message
/// is not called every second.
const STEADY: Duration = Duration::from_secs(30);

/// An exponential back-off with jitter: each pause is drawn from the upper half of its range, so
/// that replicas that lose one agent do not all reconnect at once.
pub(super) struct Backoff {
    max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { max: MIN * 2 }
    }
}

impl Backoff {
    /// The next pause, from 1 to 30 s.
    pub(super) fn next(&mut self) -> Duration {
        let half = self.max / 2;
        self.max = (self.max * 2).min(MAX);
        half + half.mul_f64(fastrand::f64())
    }

    /// Notes how long a stream lasted. A steady stream resets the back-off.
    pub(super) fn streamed(&mut self, lasted: Duration) {
        if lasted >= STEADY {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_one_second_to_thirty_with_jitter() {
        let all = || {
            let mut backoff = Backoff::default();
            [(); 20].map(|()| backoff.next())
        };
        let (one, other) = (all(), all());
        assert_ne!(one, other);
        for (pause, seconds) in one.iter().zip([1, 2, 4, 8].into_iter().chain([15; 16])) {
            let (shortest, longest) = (seconds, (seconds * 2).min(30));
            assert!(*pause >= Duration::from_secs(shortest), "{one:?}");
            assert!(*pause <= Duration::from_secs(longest), "{one:?}");
        }
    }

    #[test]
    fn only_a_steady_stream_resets_the_back_off() {
        let mut backoff = Backoff::default();
        for _ in 0..10 {
            let _ = backoff.next();
            backoff.streamed(Duration::from_secs(29));
        }
        assert!(backoff.next() >= Duration::from_secs(15));
        backoff.streamed(Duration::from_secs(30));
        assert!(backoff.next() <= Duration::from_secs(2));
    }
}
