//! The signing rate of an algorithm.

/// The signing rate of an algorithm on one core.
pub(super) struct Rate {
    pub(super) algorithm: &'static str,
    pub(super) tokens_per_second: f64,
}
