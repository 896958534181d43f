//! How long to wait before the agent is asked again.

use std::time::Duration;

const LEAST: Duration = Duration::from_secs(1);

const MOST: Duration = Duration::from_secs(30);

/// An agent works whose stream lasts this long: one that only sends something and ends the call
/// is not asked every second.
const STEADY: Duration = Duration::from_secs(30);

/// Pauses that double, each drawn from the upper half of its range: many replicas that lose one
/// agent do not come back to it at once.
pub(super) struct Pauses {
    longest: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { longest: LEAST * 2 }
    }
}

impl Pauses {
    /// The next pause: from 1 to 30 s.
    pub(super) fn next(&mut self) -> Duration {
        let half = self.longest / 2;
        self.longest = (self.longest * 2).min(MOST);
        half + half.mul_f64(fastrand::f64())
    }

    /// A stream has lasted this long: after a steady one the pauses begin anew.
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
    fn pauses_grow_from_one_second_to_thirty_and_differ() {
        let all = || {
            let mut pauses = Pauses::default();
            [(); 20].map(|()| pauses.next())
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
    fn only_a_steady_stream_makes_the_pauses_short_again() {
        let mut pauses = Pauses::default();
        for _ in 0..10 {
            let _ = pauses.next();
            pauses.streamed(Duration::from_secs(29));
        }
        assert!(pauses.next() >= Duration::from_secs(15));
        pauses.streamed(Duration::from_secs(30));
        assert!(pauses.next() <= Duration::from_secs(2));
    }
}
