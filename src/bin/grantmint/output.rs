//! What a command writes. Data goes to standard output, words to standard error; with `--json`
//! what is said on standard error is JSON too, an object a line.

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
    /// For data.
    Output,
    /// For words.
    Error,
}

/// Where a server is, for whoever started it. The server needs no reader for that: it neither
/// waits for one nor fails without one.
pub(crate) fn announce(text: String, to: Stream) {
    let write = move || {
        let written = match to {
            Stream::Output => writeln!(io::stdout(), "{text}"),
            Stream::Error => writeln!(io::stderr(), "{text}"),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "the addresses cannot be written");
        }
    };
    if let Err(error) = thread::Builder::new().name("announce".to_owned()).spawn(write) {
        tracing::warn!(%error, "the addresses cannot be written");
    }
}

/// A line of words.
pub(crate) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// What a command says beside its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// To people.
    Words,
    /// To machines.
    Json,
}

impl Voice {
    /// As `--json` has it.
    pub(crate) const fn of(json: bool) -> Self {
        if json { Self::Json } else { Self::Words }
    }

    /// Says what happens meanwhile.
    pub(crate) fn note(self, note: &str) {
        match self {
            Self::Words => say(note),
            Self::Json => object("note", &json!({"message": note})),
        }
    }
}

/// Says, to machines, what was done.
pub(crate) fn summary(summary: &Value) {
    object("summary", summary);
}

/// Writes a JSON object with one member to standard error.
pub(crate) fn object(kind: &str, value: &Value) {
    say(&json!({ kind: value }).to_string());
}

/// Seconds with a decimal, for people.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
