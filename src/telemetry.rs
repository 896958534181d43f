//! Logs and metrics. Metric handles are resolved once; a recorded value costs one or two atomic
//! additions.

mod format;
mod histogram;
mod log_lines;
mod metrics;
mod recent;
mod resource_names;
mod sampled;

use std::{
    io::{self, IsTerminal},
    panic,
};

use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

use self::log_lines::log_lines;
pub use self::{
    format::MetricsFormat,
    log_lines::LogEnd,
    metrics::{
        AuditMetrics, CallerMetrics, CallerNumbers, Counts, CutMetrics, GrantMetrics,
        IssuerMetrics, Metrics, MintMetrics, Numbers, PoolMetrics, ProfileMetrics, ReloadMetrics,
        RpcMetrics, UpstreamMetrics,
    },
    recent::{Problem, RecentProblems},
    resource_names::ResourceNames,
};

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Human-readable.
    Human,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Human-readable on a terminal, else JSON.
    #[must_use]
    pub fn of_terminal() -> Self {
        if io::stderr().is_terminal() { Self::Human } else { Self::Json }
    }
}

/// Validates a log filter in `RUST_LOG`'s syntax.
///
/// # Errors
///
/// It is malformed.
pub fn log_filter(text: &str) -> Result<String, LoggingError> {
    EnvFilter::try_new(text).map_err(|_| LoggingError::Filter)?;
    Ok(text.to_owned())
}

/// Starts logging to standard error, filtered by `filter` (`RUST_LOG`'s syntax), and keeps the last
/// warnings and errors in `problems`. Human-readable
/// lines are coloured if that is a terminal and `NO_COLOR` (<https://no-color.org>) is not set.
///
/// Logging never blocks on a slow reader: up to 4,096 lines are queued, further ones are dropped.
///
/// # Errors
///
/// The filter is malformed, logging was already started, or its thread cannot be started.
pub fn start_logging(
    format: LogFormat,
    filter: &str,
    problems: RecentProblems,
) -> Result<LogEnd, LoggingError> {
    let filter = EnvFilter::try_new(filter).map_err(|_| LoggingError::Filter)?;
    let colours =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    let (lines, end) = log_lines(io::stderr()).map_err(|_| LoggingError::Thread)?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(move || lines.clone());
    match format {
        LogFormat::Human => {
            builder.with_target(false).with_ansi(colours).finish().with(problems).try_init()
        }
        LogFormat::Json => builder.json().flatten_event(true).finish().with(problems).try_init(),
    }
    .map_err(|_| LoggingError::Started)?;
    log_panics();
    Ok(end)
}

/// Logs the location of a panic, but not its message, which may hold a secret.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(tracing::field::display);
        tracing::error!(location, "panicked; this is a bug");
    }));
}

/// Why logging did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoggingError {
    /// The filter is malformed.
    #[error("is not a log filter; examples: info, or grantmint=debug,info")]
    Filter,
    /// The log thread cannot be started.
    #[error("the log thread cannot be started")]
    Thread,
    /// Logging was already started.
    #[error("logging was already started")]
    Started,
}
