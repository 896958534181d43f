//! The log filter, which can change while the process runs.

use std::{fmt, str::FromStr, sync::OnceLock};

use tracing_subscriber::EnvFilter;

/// What is logged, in the syntax of `RUST_LOG`: a level, or levels by target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

/// A text that is no log filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a log filter; examples: info, or info,grantmint=debug")]
pub struct LogFilterError;

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, LogFilterError> {
        if text.trim().is_empty() {
            return Err(LogFilterError);
        }
        EnvFilter::try_new(text).map(|_| Self(text.to_owned())).map_err(|_| LogFilterError)
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&LogFilter> for EnvFilter {
    fn from(filter: &LogFilter) -> Self {
        Self::new(&filter.0)
    }
}

/// Whether the filter of this process can change.
pub(super) enum Control {
    /// It was given on the command line or in the environment.
    Fixed,
    Configurable(Set),
}

/// Replaces the filter.
pub(super) type Set = Box<dyn Fn(&LogFilter) + Send + Sync>;

/// Logging is global to the process, and so is this. Unset before logging is started.
static CONTROL: OnceLock<Control> = OnceLock::new();

pub(super) fn set_control(control: Control) {
    // Logging is started once.
    let _ = CONTROL.set(control);
}

/// Puts the configured filter in force, or the default if there is none. Returns whether it is: the
/// one given on the command line or in the environment has precedence.
pub fn configure_log_filter(filter: Option<&LogFilter>) -> bool {
    match CONTROL.get() {
        None | Some(Control::Fixed) => false,
        Some(Control::Configurable(set)) => {
            let default = LogFilter::default();
            set(filter.unwrap_or(&default));
            true
        }
    }
}
