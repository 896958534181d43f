//! The progress of a load, on a terminal.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::{
    format::{latency, rate},
    plan::Plan,
    tally::Tally,
};

/// A bar that fills with time, with figures next to it.
pub(super) struct Progress {
    bar: ProgressBar,
    warm_up: Duration,
    duration: Duration,
    /// When it was last updated, and the number of responses then.
    before: (Duration, u64),
}

impl Progress {
    /// Hidden with `--json` and if standard error is not a terminal.
    pub(super) fn new(plan: &Plan, json: bool) -> Self {
        let bar = if json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(millis(plan.warm_up + plan.duration))
        };
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
            bar.set_style(style);
        }
        let Plan { warm_up, duration, .. } = *plan;
        Self { bar, warm_up, duration, before: (Duration::ZERO, 0) }
    }

    pub(super) fn is_shown(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Shows the results so far, after measuring for `measured`.
    pub(super) fn show(&mut self, measured: Duration, tally: &Tally) {
        let message = self.message(measured, tally);
        self.bar.set_message(message);
        let elapsed = if measured.is_zero() { self.bar.elapsed() } else { self.warm_up + measured };
        self.bar.set_position(millis(elapsed.min(self.warm_up + self.duration)));
    }

    fn message(&mut self, measured: Duration, tally: &Tally) -> String {
        if measured.is_zero() {
            return "warming up".to_owned();
        }
        if measured >= self.duration {
            return "waiting for the last responses".to_owned();
        }
        let (then, responses) = self.before;
        self.before = (measured, tally.answered_in_window);
        let now = rate(tally.answered_in_window - responses, measured.saturating_sub(then));
        let [half, most] = [0.5, 0.99].map(|it| latency(tally.times.value_at_quantile(it)));
        let mut message = if tally.times.is_empty() {
            "no response yet".to_owned()
        } else {
            format!("{now:.0} calls a second, p50 {half}, p99 {most}")
        };
        if tally.failed() > 0 {
            message = format!("{message}, {} failed", tally.failed());
        }
        message
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
