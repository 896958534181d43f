//! The share of traces without a parent that is recorded.

use super::TraceId;

/// A share from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample(f64);

/// A number that is no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a number from 0 to 1")]
pub struct SampleError;

impl Sample {
    /// The default: one in a hundred.
    pub const DEFAULT: Self = Self(0.01);

    /// This share.
    ///
    /// # Errors
    ///
    /// It is not from 0 to 1.
    pub fn new(share: f64) -> Result<Self, SampleError> {
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(SampleError) }
    }

    /// The number.
    #[must_use]
    pub const fn share(self) -> f64 {
        self.0
    }

    /// Whether this trace is recorded: all processes with the same share decide alike.
    pub(super) fn takes(self, trace: TraceId) -> bool {
        /// 2⁵³: the whole numbers below it are exact floats.
        const RANGE: f64 = 9_007_199_254_740_992.0;
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let drawn = (trace.low() & ((1 << 53) - 1)) as f64;
        drawn < self.0 * RANGE
    }

    pub(super) fn takes_rare_events(self) -> bool {
        self.0 > 0.0
    }
}

impl Default for Sample {
    fn default() -> Self {
        Self::DEFAULT
    }
}
