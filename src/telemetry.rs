//! Logs and metrics. Handles are resolved once, so that recording costs an atomic add or two.

mod format;
mod histogram;
mod log_lines;
mod metrics;
mod resource_names;
mod sampled;

use std::{
    io::{self, IsTerminal},
    panic,
};

use tracing_subscriber::EnvFilter;

use self::log_lines::log_lines;
pub use self::{
    format::MetricsFormat,
    log_lines::LogEnd,
    metrics::{
        AuditMetrics, CallerMetrics, Counts, CutMetrics, GrantMetrics, IssuerMetrics, Metrics,
        MintMetrics, PoolMetrics, ReloadMetrics, RpcMetrics, UpstreamMetrics,
    },
    resource_names::ResourceNames,
};

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// For machines: a JSON object a line.
    Json,
}

impl LogFormat {
    /// For people on a terminal, else for machines.
    #[must_use]
    pub fn of_terminal() -> Self {
        if io::stderr().is_terminal() { Self::Human } else { Self::Json }
    }
}

/// Takes a log filter in `RUST_LOG`'s syntax.
///
/// # Errors
///
/// It is malformed.
pub fn log_filter(text: &str) -> Result<String, LoggingError> {
    EnvFilter::try_new(text).map_err(|_| LoggingError::Filter)?;
    Ok(text.to_owned())
}

/// Starts logging to standard error, filtered as `filter` says (`RUST_LOG`'s syntax); for
/// people, in colour if that is a terminal and `NO_COLOR` (<https://no-color.org>) is not set.
///
/// Who logs never waits for who reads: of lines that nobody reads 4,096 are kept, more are lost.
///
/// # Errors
///
/// The filter is malformed, or logging was started before.
pub fn start_logging(format: LogFormat, filter: &str) -> Result<LogEnd, LoggingError> {
    let filter = EnvFilter::try_new(filter).map_err(|_| LoggingError::Filter)?;
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    let (lines, end) = log_lines(io::stderr()).map_err(|_| LoggingError::Thread)?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || lines.clone());
    match format {
        LogFormat::Human => builder.with_target(false).with_ansi(colours).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| LoggingError::Started)?;
    log_panics();
    Ok(end)
}

/// Tells where a panic was, and not what it said: that may hold what nobody may read.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        tracing::error!(location, "a panic: this is a bug");
    }));
}

/// Why logging did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoggingError {
    /// The filter is malformed.
    #[error("is no log filter: write it like info, or grantmint=debug,info")]
    Filter,
    /// The thread that writes it cannot be started.
    #[error("the thread that writes the log cannot be started")]
    Thread,
    /// Something else logs already.
    #[error("logging was started before")]
    Started,
}
