//! Rates and latencies in the form that people read.

use std::time::Duration;

/// Events a second.
pub(super) fn rate(count: u64, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let count = count as f64;
    if time.is_zero() { 0.0 } else { count / time.as_secs_f64() }
}

/// A latency given in microseconds.
pub(super) fn latency(micros: u64) -> String {
    let seconds = Duration::from_micros(micros).as_secs_f64();
    let millis = seconds * 1e3;
    match micros {
        0..10_000 => format!("{millis:.2} ms"),
        10_000..1_000_000 => format!("{millis:.0} ms"),
        _ => format!("{seconds:.2} s"),
    }
}
