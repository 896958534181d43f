//! The signing rate.

use std::time::Duration;

use super::mint::{Prepared, profile};
use crate::{clock::Clock, provider::vectors::Setup, token::id::Serial};

/// Tokens between two readings of the clock.
const BATCH: u32 = 16;

/// The tokens a second that one core signs for one call, measured for at least `time`.
///
/// # Errors
///
/// The reason that the profile cannot sign.
pub fn rate(setup: &Setup, time: Duration) -> Result<f64, String> {
    let prepared = Prepared::new(&profile(&setup.profile, &setup.secret)?, &setup.request)?;
    let clock = Clock::system();
    let start = clock.now().boot;
    let mut batches = 0_u32;
    loop {
        for place in 0..BATCH {
            let signed = u64::from(batches) * u64::from(BATCH) + u64::from(place);
            prepared.sign(Serial::SELF_TEST.plus(signed))?;
        }
        batches += 1;
        let took = clock.now().boot.since(start);
        if took >= time {
            let batches_per_second = f64::from(batches) / took.as_secs_f64();
            return Ok(batches_per_second * f64::from(BATCH));
        }
    }
}
