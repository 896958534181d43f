//! The waits of a bulk before it resumes: reported once per reason, and counted.

use std::{collections::BTreeMap, mem, time::Duration};

use indicatif::ProgressBar;
use serde_json::{Value, json};
use tonic::Status;

use crate::{
    failure::{disconnected, reason},
    output::MessageFormat,
};

/// The waits of one bulk.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// Waits by reason.
    counts: BTreeMap<String, u32>,
    total: Duration,
    is_shown: bool,
}

impl Waits {
    /// Reports the start of a wait: next to the progress bar, or as a line if the bar is hidden and
    /// the reason is new.
    pub(super) fn start(
        &mut self,
        bar: &ProgressBar,
        format: MessageFormat,
        pause: Duration,
        cause: &Cause,
    ) {
        let count = self.counts.entry(cause.reason.clone()).or_default();
        *count += 1;
        self.total += pause;
        let Cause { reason, text } = cause;
        let line = format!("waiting {:.1} s: {text} ({reason})", pause.as_secs_f64());
        if !bar.is_hidden() {
            bar.set_message(line);
            self.is_shown = true;
        } else if *count == 1 {
            format.note(&line);
        }
    }

    /// Clears the wait next to the progress bar.
    pub(super) fn end(&mut self, bar: &ProgressBar) {
        if mem::take(&mut self.is_shown) {
            bar.set_message("");
        }
    }

    /// The number of waits by reason, and their total time.
    pub(super) fn to_json(&self) -> Value {
        json!({"times": self.counts, "seconds": self.total.as_secs_f64()})
    }

    /// The same as a line; none without a wait.
    pub(super) fn summary(&self) -> Option<String> {
        let times: u32 = self.counts.values().sum();
        let reasons = self.counts.iter().map(|(reason, count)| format!("{reason} {count}"));
        let reasons = reasons.collect::<Vec<_>>().join(", ");
        let (plural, total) = (if times == 1 { "" } else { "s" }, self.total.as_secs_f64());
        (times > 0)
            .then(|| format!("waited {times} time{plural}, {total:.1} s in total: {reasons}"))
    }
}

/// Why a call must be retried.
#[derive(Debug)]
pub(super) struct Cause {
    reason: String,
    text: String,
}

impl Cause {
    /// From the server's reason, or else the code, and the message. Only the first clause of the
    /// message is kept: the rest is advice on retrying.
    pub(super) fn of(status: &Status) -> Self {
        let text = status.message().split([';', '\n']).next().unwrap_or_default().to_owned();
        let reason = reason(status).unwrap_or_else(|| {
            if disconnected(status) {
                "no connection".to_owned()
            } else {
                format!("{:?}", status.code())
            }
        });
        Self { reason, text }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tonic::Code;
    use tonic_types::{ErrorDetails, StatusExt};

    use super::*;

    #[test]
    fn waits_are_counted_by_reason() {
        let mut waits = Waits::default();
        assert_eq!(waits.summary(), None);
        let bar = ProgressBar::hidden();
        let text = "no grant has been received yet; retry";
        let wait = |waits: &mut Waits, code: Code, reason: Option<&str>| {
            let details = reason.map(|it| ErrorDetails::with_error_info(it, "", HashMap::new()));
            let status = match details {
                Some(details) => Status::with_error_details(code, text, details),
                None => Status::new(code, text),
            };
            let cause = Cause::of(&status);
            assert_eq!(cause.text, "no grant has been received yet");
            waits.start(&bar, MessageFormat::Text, Duration::from_millis(700), &cause);
        };
        wait(&mut waits, Code::Unavailable, Some("GRANT_PENDING"));
        let once = "waited 1 time, 0.7 s in total: GRANT_PENDING 1";
        assert_eq!(waits.summary().as_deref(), Some(once));
        wait(&mut waits, Code::Unavailable, Some("GRANT_PENDING"));
        wait(&mut waits, Code::Unavailable, None);
        // Its own deadline, or a proxy's.
        wait(&mut waits, Code::DeadlineExceeded, None);
        let all = "waited 4 times, 2.8 s in total: DeadlineExceeded 1, GRANT_PENDING 2, no \
                   connection 1";
        assert_eq!(waits.summary().as_deref(), Some(all));
        let times = json!({"DeadlineExceeded": 1, "GRANT_PENDING": 2, "no connection": 1});
        assert_eq!(waits.to_json(), json!({"times": times, "seconds": 2.8}));
    }
}
