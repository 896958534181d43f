//! The last warnings and errors of the log, for the status page. The messages are literals, so that
//! each is kept once, with a count and the fields of its last occurrence.

use std::{
    collections::VecDeque,
    fmt::{self, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use crate::clock::{Clock, WallTime};

/// The maximum number of messages.
const MAX_MESSAGES: usize = 64;

/// The maximum bytes of a message's fields.
const MAX_FIELDS: usize = 512;

/// Events of other crates may have any message, so they are only in the log.
const TARGET: &str = "grantmint";

/// The last warnings and errors of the log.
#[derive(Clone, Debug, Default)]
pub struct RecentProblems(Arc<Mutex<VecDeque<Problem>>>);

/// A warning or error that was logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Whether it is an error; else a warning.
    pub is_error: bool,
    /// Its message.
    pub message: String,
    /// The fields of its last occurrence: `name=value`, separated by spaces.
    pub fields: String,
    /// When it last occurred.
    pub last: WallTime,
    /// How often it occurred.
    pub count: u64,
}

impl RecentProblems {
    /// All of them, the last first.
    #[must_use]
    pub fn all(&self) -> Vec<Problem> {
        self.lock().iter().cloned().collect()
    }

    fn add(&self, mut problem: Problem) {
        let mut problems = self.lock();
        let same = |it: &Problem| it.message == problem.message && it.is_error == problem.is_error;
        if let Some(at) = problems.iter().position(same)
            && let Some(before) = problems.remove(at)
        {
            problem.count += before.count;
        }
        problems.push_front(problem);
        problems.truncate(MAX_MESSAGES);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Problem>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for RecentProblems {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let (level, target) = (*event.metadata().level(), event.metadata().target());
        if level > Level::WARN || target.split("::").next() != Some(TARGET) {
            return;
        }
        let mut text = EventText::default();
        event.record(&mut text);
        self.add(Problem {
            is_error: level == Level::ERROR,
            message: text.message,
            fields: text.fields,
            last: Clock::system().now().wall,
            count: 1,
        });
    }
}

/// An event's message and other fields.
#[derive(Default)]
struct EventText {
    message: String,
    fields: String,
}

impl Visit for EventText {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        if field.name() == "message" {
            let _ = write!(self.message, "{value:?}");
        } else if self.fields.len() < MAX_FIELDS {
            let space = if self.fields.is_empty() { "" } else { " " };
            let _ = write!(self.fields, "{space}{}={value:?}", field.name());
            let end = (0..=MAX_FIELDS).rev().find(|end| self.fields.is_char_boundary(*end));
            if self.fields.len() > MAX_FIELDS {
                self.fields.truncate(end.unwrap_or(0));
                self.fields.push('…');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn each_message_is_kept_once_with_its_last_fields() {
        let problems = RecentProblems::default();
        let subscriber = tracing_subscriber::registry().with(problems.clone());
        tracing::subscriber::with_default(subscriber, || {
            for grant in 0..3 {
                tracing::warn!(grant, name = "a b", "refresh failed");
                tracing::error!(error = %"x".repeat(2 * MAX_FIELDS), "not published");
            }
            tracing::info!("recovered");
            tracing::warn!(target: "hyper::proto", "elsewhere");
        });
        let all = problems.all();
        let shown: Vec<_> =
            all.iter().map(|it| (it.is_error, it.message.as_str(), it.count)).collect();
        assert_eq!(shown, [(true, "not published", 3), (false, "refresh failed", 3)]);
        assert_eq!(all[1].fields, "grant=2 name=a b");
        assert!(all[0].fields.starts_with("error=xxx") && all[0].fields.len() < MAX_FIELDS + 8);
    }

    #[test]
    fn messages_are_bounded() {
        let problems = RecentProblems::default();
        for number in 0..1_000 {
            let message = format!("message {number}");
            let fields = String::new();
            problems.add(Problem {
                is_error: true,
                message,
                fields,
                last: WallTime::from_unix_seconds(0),
                count: 1,
            });
        }
        let all = problems.all();
        assert_eq!((all.len(), &*all[0].message), (MAX_MESSAGES, "message 999"));
    }
}
