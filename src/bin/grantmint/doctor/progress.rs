//! The progress display, on a terminal.

use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar with the names of the checks that run. Clones share it.
#[derive(Clone)]
pub(super) struct Progress(Arc<Shared>);

struct Shared {
    bar: ProgressBar,
    running: Mutex<Vec<&'static str>>,
}

impl Progress {
    /// Hidden with `--json` and if standard error is not a terminal.
    pub(super) fn new(checks: usize, json: bool) -> Self {
        let bar = if json {
            ProgressBar::hidden()
        } else {
            ProgressBar::new(u64::try_from(checks).unwrap_or(u64::MAX))
        };
        if let Ok(style) = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg}") {
            bar.set_style(style);
        }
        Self(Arc::new(Shared { bar, running: Mutex::default() }))
    }

    pub(super) fn started(&self, name: &'static str) {
        self.running(|running| running.push(name));
    }

    pub(super) fn finished(&self, name: &'static str) {
        self.running(|running| {
            let at = running.iter().position(|it| *it == name);
            at.map(|at| running.remove(at));
        });
        self.done();
    }

    /// Counts a check.
    pub(super) fn done(&self) {
        self.0.bar.inc(1);
    }

    fn running(&self, change: impl FnOnce(&mut Vec<&'static str>)) {
        let mut running = self.0.running.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut running);
        self.0.bar.set_message(running.join(", "));
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
