//! Why a command failed, and what to do next.

use std::{borrow::Cow, error::Error, fmt, io, time::Duration};

use grantmint::settings::Problems;
use serde_json::{Map, Value, json};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{
    dial,
    exit::Exit,
    output::{self, StdoutError, Voice, seconds},
    terminal::{Colour, Paint},
};

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    /// The code of a failed call; none where no call was made.
    code: Option<Code>,
    /// The reason of the server's own errors; none where the transport failed.
    reason: Option<String>,
    /// What is wrong, one by one.
    details: Vec<Detail>,
    retry_after: Option<Duration>,
    next: Option<String>,
}

/// One of the things that are wrong.
#[derive(Debug)]
struct Detail {
    /// A field's path, or a file.
    place: String,
    /// The line of a file.
    line: Option<usize>,
    /// What is wrong there.
    message: String,
}

impl Failure {
    fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            code: None,
            reason: None,
            details: Vec::new(),
            retry_after: None,
            next: None,
        }
    }

    /// It failed, and trying again will not help.
    pub(crate) fn for_good(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// It failed, and trying again may help.
    pub(crate) fn try_later(message: impl Into<String>) -> Self {
        Self::new(Exit::TryLater, message)
    }

    /// It was used wrongly.
    pub(crate) fn misuse(message: impl Into<String>) -> Self {
        Self::new(Exit::Misused, message)
    }

    /// It was used wrongly, as clap found.
    pub(crate) fn from_usage(error: &clap::Error) -> Self {
        let text = error.to_string();
        let (message, usage) = text.split_once("\n\n").unwrap_or((&text, ""));
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        Self::misuse(one_line(message.trim_start_matches("error: "))).next(one_line(usage))
    }

    /// What to do next.
    #[must_use]
    pub(crate) fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }

    /// How the command ends with it.
    pub(crate) const fn exit(&self) -> Exit {
        self.exit
    }

    /// Writes the failure and what to do next to standard error.
    pub(crate) fn report(&self, voice: Voice) {
        match voice {
            Voice::Words => {
                let label = Paint::stderr().with(Colour::Red, "error:");
                output::say(&format!("{label} {self}"));
            }
            Voice::Json => output::object("error", &self.to_json()),
        }
    }

    /// As one JSON object; what is not known is left out.
    pub(crate) fn to_json(&self) -> Value {
        let mut object = Map::new();
        object.insert("message".to_owned(), json!(self.message));
        object.insert("exit_code".to_owned(), json!(self.exit.code()));
        let details = |details: &[Detail]| {
            let one = |it: &Detail| match it.line {
                Some(line) => json!({"place": it.place, "line": line, "message": it.message}),
                None => json!({"place": it.place, "message": it.message}),
            };
            Value::Array(details.iter().map(one).collect())
        };
        let known = [
            ("code", self.code.map(|code| json!(format!("{code:?}")))),
            ("reason", self.reason.as_ref().map(|reason| json!(reason))),
            ("retry_after_seconds", self.retry_after.map(|after| json!(after.as_secs_f64()))),
            ("details", Some(details(&self.details)).filter(|it| *it != json!([]))),
            ("next", self.next.as_ref().map(|next| json!(next))),
        ];
        let known = known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        object.extend(known);
        Value::Object(object)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match (&self.reason, self.code) {
            (Some(reason), _) => write!(f, " ({reason})")?,
            (None, Some(code)) => write!(f, " ({code:?})")?,
            (None, None) => {}
        }
        for Detail { place, line, message } in &self.details {
            write!(f, "\n  {place}:")?;
            line.iter().try_for_each(|line| write!(f, "{line}:"))?;
            write!(f, " {message}")?;
        }
        if let Some(after) = self.retry_after {
            write!(f, "\n  try again in {}", seconds(after))?;
        }
        self.next.iter().try_for_each(|next| write!(f, "\n  {next}"))
    }
}

impl From<StdoutError> for Failure {
    /// A closed pipe is no failure: its reader has all that it wanted.
    fn from(error: StdoutError) -> Self {
        let exit =
            if error.0.kind() == io::ErrorKind::BrokenPipe { Exit::Done } else { Exit::Failed };
        Self::new(exit, error.to_string())
    }
}

impl From<Status> for Failure {
    /// A failed call.
    fn from(status: Status) -> Self {
        let later = matches!(
            status.code(),
            Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted
        );
        let for_good = dial::problem(&status).is_some_and(|problem| !problem.heals());
        let later = (later || disconnected(&status)) && !for_good;
        let exit = if later { Exit::TryLater } else { Exit::Failed };
        let bad = status.get_details_bad_request().map(|bad| bad.field_violations);
        let details = bad.unwrap_or_default().into_iter();
        let next = what_next(&status).map(Cow::into_owned);
        Self {
            exit,
            message: status.message().to_owned(),
            code: Some(status.code()).filter(|_| !disconnected(&status)),
            reason: reason(&status),
            details: details
                .map(|it| Detail { place: it.field, line: None, message: it.description })
                .collect(),
            retry_after: retry_delay(&status),
            next,
        }
    }
}

impl From<Problems> for Failure {
    /// A configuration that is wrong.
    fn from(problems: Problems) -> Self {
        let check = format!(
            "the sample grantmint.toml has every key; then run: grantmint check {}",
            problems.file()
        );
        Self::in_file("configuration", check, &problems)
    }
}

impl Failure {
    /// A file of this sort that is wrong, and what to do next where it could be read.
    pub(crate) fn in_file(sort: &str, next: impl Into<String>, problems: &Problems) -> Self {
        let (file, list) = (problems.file(), problems.list());
        let count = match list.len() {
            1 => "one problem".to_owned(),
            more => format!("{more} problems"),
        };
        let details = list.iter().map(|problem| Detail {
            place: file.to_owned(),
            line: problem.line,
            message: problem.message.clone(),
        });
        let failure = Self::for_good(format!("{count} in the {sort}"));
        // Where there is no line there was no text.
        let was_read = list.iter().any(|problem| problem.line.is_some());
        let failure = if was_read { failure.next(next) } else { failure };
        Self { details: details.collect(), ..failure }
    }
}

fn what_next(status: &Status) -> Option<Cow<'static, str>> {
    if let Some(problem) = dial::problem(status) {
        return problem.next();
    }
    let next = match reason(status).as_deref() {
        None if disconnected(status) => {
            Some("is the server running there? start one with: grantmint serve --sandbox")
        }
        Some("UPSTREAM_REJECTED" | "UPSTREAM_THROTTLED" | "GRANT_EXPIRED" | "GRANT_PENDING") => {
            Some("see the state of the grant with: grantmint grants")
        }
        Some(
            "PROFILE_REQUIRED" | "PROFILE_NOT_FOUND" | "RESOURCE_REQUIRED" | "RESOURCE_NOT_FOUND",
        ) => Some("grantmint check FILE, where the server runs, shows what is configured"),
        _ => None,
    };
    next.map(Cow::Borrowed)
}

/// The reason of the server's own errors; none where the transport failed.
pub(crate) fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// Whether there was no connection, or it broke: then the status is of the client's making,
/// with whatever code suits the break.
pub(crate) fn disconnected(status: &Status) -> bool {
    reason(status).is_none() && (status.code() == Code::Unavailable || status.source().is_some())
}

/// Whether going on is worth a try: the server is to be back, or another in its place.
pub(crate) fn heals(status: &Status) -> bool {
    match dial::problem(status) {
        Some(problem) => problem.heals(),
        None => status.code() == Code::Unavailable || disconnected(status),
    }
}

/// When the server says that trying again makes sense.
pub(crate) fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn pending() -> Failure {
        let mut details = ErrorDetails::new();
        details.set_error_info("GRANT_PENDING", "grantmint", std::collections::HashMap::new());
        details.set_retry_info(Some(Duration::from_millis(1_500)));
        Status::with_error_details(Code::Unavailable, "there is no grant yet", details).into()
    }

    #[test]
    fn a_call_that_may_succeed_later_says_when_and_what_to_look_at() {
        let failure = pending();
        assert_eq!(failure.exit(), Exit::TryLater);
        assert_eq!(
            failure.to_string(),
            "there is no grant yet (GRANT_PENDING)\n  try again in 1.5 s\n  \
             see the state of the grant with: grantmint grants"
        );
        assert_eq!(
            failure.to_json(),
            json!({
                "message": "there is no grant yet",
                "code": "Unavailable",
                "reason": "GRANT_PENDING",
                "retry_after_seconds": 1.5,
                "exit_code": 3,
                "next": "see the state of the grant with: grantmint grants",
            })
        );
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is() {
        for (kind, exit) in
            [(io::ErrorKind::BrokenPipe, Exit::Done), (io::ErrorKind::StorageFull, Exit::Failed)]
        {
            let error = StdoutError(kind.into());
            assert_eq!(Failure::from(error).exit(), exit);
        }
    }
}
