//! Data goes to standard output, words to standard error.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The exit code of what may succeed later.
pub(crate) const TRY_LATER: u8 = 3;

/// A line of data. A reader that went away ends the program quietly later on.
pub(crate) fn data(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// A line of words.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The exit code of wrong usage, as clap has it.
const WRONG_USAGE: u8 = 2;

/// Says how the command is used rightly.
pub(crate) fn misused(how: &str) -> ExitCode {
    say(&format!("error: {how}"));
    ExitCode::from(WRONG_USAGE)
}

/// Says why it failed for good.
pub(crate) fn failed(why: &str) -> ExitCode {
    say(&format!("error: {why}"));
    ExitCode::FAILURE
}

/// Says why a call failed and what to do next.
pub(crate) fn call_failed(status: &Status) -> ExitCode {
    say(&format!("error: {}", explain(status)));
    if disconnected(status) {
        return ExitCode::from(TRY_LATER);
    }
    match status.code() {
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => {
            ExitCode::from(TRY_LATER)
        }
        _ => ExitCode::FAILURE,
    }
}

/// A failed call in words: its reason and message, and what to do next.
fn explain(status: &Status) -> String {
    let reason = reason(status);
    let mut text = match &reason {
        Some(reason) => format!("{} ({reason})", status.message()),
        None => format!("{} ({:?})", status.message(), status.code()),
    };
    let bad = status.get_details_bad_request().map(|details| details.field_violations);
    for violation in bad.unwrap_or_default() {
        text.extend(["\n  ", &violation.field, ": ", &violation.description]);
    }
    if let Some(delay) = retry_delay(status) {
        let _ = write!(text, "\n  try again in {:.1} s", delay.as_secs_f64());
    }
    let next = match reason.as_deref() {
        None if disconnected(status) => {
            "is the server running there? start one with: grantmint serve --sandbox"
        }
        Some("UPSTREAM_REJECTED") => "see why with: grantmint grants",
        Some(
            "PROFILE_REQUIRED" | "PROFILE_NOT_FOUND" | "RESOURCE_REQUIRED" | "RESOURCE_NOT_FOUND",
        ) => "see what there is with: grantmint grants",
        _ => return text,
    };
    text.push_str("\n  ");
    text.push_str(next);
    text
}

/// The reason of our own errors; none where the transport failed.
pub(crate) fn reason(status: &Status) -> Option<String> {
    status.get_details_error_info().map(|info| info.reason)
}

/// Whether there was no connection, or it broke: then the status is of the client's making,
/// with whatever code suits the break.
pub(crate) fn disconnected(status: &Status) -> bool {
    reason(status).is_none() && (status.code() == Code::Unavailable || status.source().is_some())
}

/// When the server says that trying again makes sense.
pub(crate) fn retry_delay(status: &Status) -> Option<Duration> {
    status.get_details_retry_info()?.retry_delay
}
