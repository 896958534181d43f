//! What a bulk waits for before it goes on, told once as it comes and counted.

use std::{collections::BTreeMap, time::Duration};

use indicatif::ProgressBar;
use serde_json::{Value, json};

use crate::output::MessageFormat;

/// The waits of one bulk.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// How often, by reason.
    counts: BTreeMap<String, u32>,
    total: Duration,
}

impl Waits {
    /// Tells that a wait of `pause` begins: behind the progress bar, or as a line where there
    /// is none to see and the reason is new.
    pub(super) fn begin(
        &mut self,
        bar: &ProgressBar,
        format: MessageFormat,
        pause: Duration,
        why: &Why,
    ) {
        let count = self.counts.entry(why.reason.clone()).or_default();
        *count += 1;
        self.total += pause;
        let line = format!("waiting {:.1} s: {} ({})", pause.as_secs_f64(), why.text, why.reason);
        if !bar.is_hidden() {
            bar.set_message(line);
        } else if *count == 1 {
            format.note(&line);
        }
    }

    /// How often it waited by reason, and how long in all.
    pub(super) fn to_json(&self) -> Value {
        json!({"times": self.counts, "seconds": self.total.as_secs_f64()})
    }

    /// How often it waited, how long and for what; none if it never did.
    pub(super) fn sum(&self) -> Option<String> {
        let times: u32 = self.counts.values().sum();
        let reasons = self.counts.iter().map(|(reason, count)| format!("{reason} {count}"));
        let reasons = reasons.collect::<Vec<_>>().join(", ");
        let (plural, total) = (if times == 1 { "" } else { "s" }, self.total.as_secs_f64());
        (times > 0).then(|| format!("waited {times} time{plural}, {total:.1} s in all: {reasons}"))
    }
}

/// Why a call has to be made again.
#[derive(Debug)]
pub(super) struct Why {
    reason: String,
    text: String,
}

impl Why {
    /// The server's reason, or none where there was no server, and the message with it. What
    /// that says after its first clause is for those who do not retry by themselves.
    pub(super) fn new(reason: Option<String>, message: &str) -> Self {
        let text = message.split([';', '\n']).next().unwrap_or_default().to_owned();
        Self { reason: reason.unwrap_or_else(|| "no connection".to_owned()), text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_counted_by_reason() {
        let mut waits = Waits::default();
        assert_eq!(waits.sum(), None);
        let bar = ProgressBar::hidden();
        let wait = |waits: &mut Waits, reason: Option<&str>| {
            let why = Why::new(reason.map(str::to_owned), "there is no grant yet; retry");
            assert_eq!(why.text, "there is no grant yet");
            waits.begin(&bar, MessageFormat::Text, Duration::from_millis(700), &why);
        };
        wait(&mut waits, Some("GRANT_PENDING"));
        let told = "waited 1 time, 0.7 s in all: GRANT_PENDING 1";
        assert_eq!(waits.sum().as_deref(), Some(told));
        wait(&mut waits, Some("GRANT_PENDING"));
        wait(&mut waits, None);
        let told = "waited 3 times, 2.1 s in all: GRANT_PENDING 2, no connection 1";
        assert_eq!(waits.sum().as_deref(), Some(told));
        let times = json!({"GRANT_PENDING": 2, "no connection": 1});
        assert_eq!(waits.to_json(), json!({"times": times, "seconds": 2.1}));
    }
}
