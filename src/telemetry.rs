//! Logs, metrics and traces. Metric handles are resolved once; a recorded value costs one or two atomic
//! additions.

mod filter;
mod format;
mod histogram;
mod log_lines;
mod metrics;
mod recent;
mod resource_names;
mod sampled;
pub mod trace;

use std::{
    io::{self, IsTerminal},
    panic,
};

use tracing_subscriber::{
    EnvFilter, layer::SubscriberExt, reload::Handle, util::SubscriberInitExt,
};

use self::{
    filter::{Control, Set},
    log_lines::log_lines,
};
pub use self::{
    filter::{LogFilter, configure_log_filter},
    format::MetricsFormat,
    log_lines::LogEnd,
    metrics::{
        AuditMetrics, CallerMetrics, CallerNumbers, Counts, GrantMetrics, IssuerMetrics, Metrics,
        MintMetrics, Numbers, PoolMetrics, ProfileMetrics, ReloadMetrics, ResetMetrics, RpcMetrics,
        TraceMetrics, UpstreamMetrics,
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

/// Starts logging to standard error. Human-readable lines are colored if that is a terminal and
/// `NO_COLOR` (<https://no-color.org>) is not set.
///
/// `filter` stays in force until the process ends. Without one, the default is in force until
/// [`configure_log_filter`] sets another. The last warnings and errors are kept in `problems`.
///
/// Logging never blocks on a slow reader: up to 4,096 lines are queued, further ones are dropped.
///
/// # Errors
///
/// Logging was already started, or its thread cannot be started.
pub fn start_logging(
    format: LogFormat,
    filter: Option<&LogFilter>,
    problems: RecentProblems,
) -> Result<LogEnd, LoggingError> {
    let default = LogFilter::default();
    let in_force: EnvFilter = filter.unwrap_or(&default).into();
    let colors =
        io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
    let (lines, end) = log_lines(format, io::stderr()).map_err(|_| LoggingError::Thread)?;
    let builder =
        tracing_subscriber::fmt().with_env_filter(in_force).with_writer(move || lines.clone());
    let (started, set) = match format {
        LogFormat::Human => {
            let builder = builder.with_target(false).with_ansi(colors).with_filter_reloading();
            let set = setter(builder.reload_handle());
            (builder.finish().with(problems).try_init(), set)
        }
        LogFormat::Json => {
            let builder = builder.json().flatten_event(true).with_filter_reloading();
            let set = setter(builder.reload_handle());
            (builder.finish().with(problems).try_init(), set)
        }
    };
    started.map_err(|_| LoggingError::Started)?;
    filter::set_control(match filter {
        Some(_) => Control::Fixed,
        None => Control::Configurable(set),
    });
    log_panics();
    Ok(end)
}

/// Replaces the filter of the global subscriber.
fn setter<S: 'static>(handle: Handle<EnvFilter, S>) -> Set {
    Box::new(move |filter| {
        // Fails only after the subscriber is dropped, and it is global.
        let _ = handle.reload(EnvFilter::from(filter));
    })
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
    /// The log thread cannot be started.
    #[error("the log thread cannot be started")]
    Thread,
    /// Logging was already started.
    #[error("logging was already started")]
    Started,
}
