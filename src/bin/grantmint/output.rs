//! The output of commands. Data goes to standard output, messages to standard error. With
//! `--json`, messages are JSON objects, one per line.

use std::{
    io::{self, Write},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// Standard output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub(crate) struct StdoutError(#[from] pub(crate) io::Error);

/// Writes a line of data.
pub(crate) fn data(line: &str) -> Result<(), StdoutError> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

/// A standard stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output, for data.
    Output,
    /// Standard error, for messages.
    Error,
}

/// Prints the addresses of a server, from a thread of its own: the server neither waits for a
/// reader nor fails without one.
pub(crate) fn announce(text: String, to: Stream) {
    let write = move || {
        let written = match to {
            Stream::Output => writeln!(io::stdout(), "{text}"),
            Stream::Error => writeln!(io::stderr(), "{text}"),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "cannot print the addresses");
        }
    };
    if let Err(error) = thread::Builder::new().name("announce".to_owned()).spawn(write) {
        tracing::warn!(%error, "cannot print the addresses");
    }
}

/// Writes a line to standard error.
pub(crate) fn message(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The format of messages on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageFormat {
    Text,
    /// JSON objects, one per line.
    Json,
}

impl MessageFormat {
    /// The format that the flag `--json` selects.
    pub(crate) const fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }

    /// Reports progress.
    pub(crate) fn note(self, note: &str) {
        match self {
            Self::Text => message(note),
            Self::Json => object("note", &json!({"message": note})),
        }
    }
}

/// Writes a summary as JSON.
pub(crate) fn summary(summary: &Value) {
    object("summary", summary);
}

/// Writes a JSON object with one member to standard error.
pub(crate) fn object(kind: &str, value: &Value) {
    message(&json!({ kind: value }).to_string());
}

/// Seconds with one decimal.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
