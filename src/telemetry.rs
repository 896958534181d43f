//! Logs and metrics. Handles are resolved once, so that recording costs an atomic add.

mod log_lines;

use std::{
    fmt,
    io::{self, IsTerminal},
    sync::{Arc, atomic::AtomicU64},
};

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tracing_subscriber::EnvFilter;

pub use self::log_lines::LogEnd;
use self::log_lines::log_lines;
use crate::{
    clock::WallTime,
    name::{GrantName, ProfileName},
};

type Labels = Vec<(&'static str, String)>;
type Counters = Family<Labels, Counter>;
type Timestamps = Family<Labels, Gauge<f64, AtomicU64>>;

/// All metrics of one process.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    tokens: Counters,
    calls_started: Counters,
    calls_handled: Counters,
    refreshes: Counters,
    upstream_requests: Counters,
    fetched: Timestamps,
    ends: Timestamps,
    next_attempts: Timestamps,
    tokens_per_request: Gauge<f64, AtomicU64>,
    minted: Counter,
    requested: Counter,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let tokens = Counters::default();
        let calls_started = Counters::default();
        let calls_handled = Counters::default();
        let refreshes = Counters::default();
        let upstream_requests = Counters::default();
        let fetched = Timestamps::default();
        let ends = Timestamps::default();
        let next_attempts = Timestamps::default();
        let tokens_per_request = Gauge::default();

        registry.register(
            "grantmint_tokens",
            "Tokens asked for, by method and outcome: minted; refused (the request must change), unserved (no grant would do)",
            tokens.clone(),
        );
        registry.register(
            "grpc_server_started",
            "gRPC calls begun, by method",
            calls_started.clone(),
        );
        registry.register(
            "grpc_server_handled",
            "gRPC calls ended, by method and code",
            calls_handled.clone(),
        );
        registry.register(
            "grantmint_refreshes",
            "Attempts to refresh a grant, by result: ok, a fault's class, or held by the account's budget",
            refreshes.clone(),
        );
        registry.register(
            "grantmint_upstream_requests",
            "Requests sent to the upstream, by profile",
            upstream_requests.clone(),
        );
        registry.register(
            "grantmint_grant_fetch_timestamp_seconds",
            "When the present grant was asked for",
            fetched.clone(),
        );
        registry.register(
            "grantmint_grant_end_timestamp_seconds",
            "When the present grant ends",
            ends.clone(),
        );
        registry.register(
            "grantmint_grant_next_attempt_timestamp_seconds",
            "When the next refresh starts",
            next_attempts.clone(),
        );
        registry.register(
            "grantmint_tokens_per_upstream_request",
            "Tokens minted for each request sent to the upstream since the start",
            tokens_per_request.clone(),
        );
        Self(Arc::new(Inner {
            registry,
            tokens,
            calls_started,
            calls_handled,
            refreshes,
            upstream_requests,
            fetched,
            ends,
            next_attempts,
            tokens_per_request,
            minted: Counter::default(),
            requested: Counter::default(),
        }))
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// The content type of [`Metrics::render`]'s text.
pub const METRICS_CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

impl Metrics {
    /// All metrics as `OpenMetrics` text.
    #[must_use]
    pub fn render(&self) -> String {
        let requests = self.0.requested.get().max(1);
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
        self.0.tokens_per_request.set(self.0.minted.get() as f64 / requests as f64);
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.0.registry);
        text
    }

    /// The handles of one grant.
    #[must_use]
    pub fn grant(&self, name: &GrantName) -> GrantMetrics {
        GrantMetrics { metrics: self.clone(), name: name.clone() }
    }

    /// The handle for requests that one profile sends.
    #[must_use]
    pub fn upstream(&self, profile: &ProfileName) -> UpstreamMetrics {
        let labels = vec![("profile", profile.to_string())];
        UpstreamMetrics {
            of_profile: self.0.upstream_requests.get_or_create_owned(&labels),
            of_all: self.0.requested.clone(),
        }
    }

    /// The handles of one minting method.
    #[must_use]
    pub fn minting(&self, method: &str) -> MintMetrics {
        let counter = |outcome: &str| {
            let labels = vec![("method", method.to_owned()), ("outcome", outcome.to_owned())];
            self.0.tokens.get_or_create_owned(&labels)
        };
        MintMetrics {
            minted: counter("minted"),
            refused: counter("refused"),
            unserved: counter("unserved"),
            of_all: self.0.minted.clone(),
        }
    }

    /// The handles of one RPC: `codes` are all the names that its calls can end with.
    #[must_use]
    pub fn rpc(&self, kind: &str, service: &str, method: &str, codes: &[&str]) -> RpcMetrics {
        let labels = vec![
            ("grpc_type", kind.to_owned()),
            ("grpc_service", service.to_owned()),
            ("grpc_method", method.to_owned()),
        ];
        let handled = codes.iter().map(|code| {
            let mut labels = labels.clone();
            labels.push(("grpc_code", (*code).to_owned()));
            self.0.calls_handled.get_or_create_owned(&labels)
        });
        RpcMetrics {
            handled: handled.collect(),
            started: self.0.calls_started.get_or_create_owned(&labels),
        }
    }
}

/// What one grant's keeper records.
#[derive(Debug)]
pub struct GrantMetrics {
    metrics: Metrics,
    name: GrantName,
}

impl GrantMetrics {
    fn labels(&self) -> Labels {
        vec![
            ("profile", self.name.profile.to_string()),
            ("resource", self.name.resource.to_string()),
        ]
    }

    /// An attempt ended like this.
    pub fn attempted(&self, result: &'static str) {
        let mut labels = self.labels();
        labels.push(("result", result.to_owned()));
        self.metrics.0.refreshes.get_or_create(&labels).inc();
    }

    /// A grant was published.
    pub fn fresh(&self, fetched: WallTime, end: WallTime) {
        self.metrics.0.fetched.get_or_create(&self.labels()).set(seconds(fetched));
        self.metrics.0.ends.get_or_create(&self.labels()).set(seconds(end));
    }

    /// The next attempt is planned.
    pub fn next_attempt(&self, at: WallTime) {
        self.metrics.0.next_attempts.get_or_create(&self.labels()).set(seconds(at));
    }
}

#[expect(clippy::cast_precision_loss, reason = "microseconds since 1970 fit for centuries")]
fn seconds(at: WallTime) -> f64 {
    at.unix_micros() as f64 / 1e6
}

/// What one profile's source records.
#[derive(Clone, Debug)]
pub struct UpstreamMetrics {
    of_profile: Counter,
    of_all: Counter,
}

impl UpstreamMetrics {
    /// A request was sent.
    pub fn sent(&self) {
        self.of_profile.inc();
        self.of_all.inc();
    }
}

/// What one minting method records.
#[derive(Clone, Debug)]
pub struct MintMetrics {
    minted: Counter,
    refused: Counter,
    unserved: Counter,
    of_all: Counter,
}

impl MintMetrics {
    /// Tokens were minted.
    pub fn minted(&self, tokens: u64) {
        self.minted.inc_by(tokens);
        self.of_all.inc_by(tokens);
    }

    /// A request must change.
    pub fn refused(&self) {
        self.refused.inc();
    }

    /// No grant would do.
    pub fn unserved(&self) {
        self.unserved.inc();
    }
}

/// What one RPC records.
#[derive(Clone, Debug)]
pub struct RpcMetrics {
    started: Counter,
    handled: Vec<Counter>,
}

impl RpcMetrics {
    /// A call began.
    pub fn started(&self) {
        self.started.inc();
    }

    /// A call ended with the code of this index.
    pub fn handled(&self, code: usize) {
        if let Some(counter) = self.handled.get(code) {
            counter.inc();
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// For machines: a JSON object a line.
    Json,
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
    Ok(end)
}

/// Why logging did not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoggingError {
    /// The filter is malformed.
    #[error("the log filter is malformed; write it like info or grantmint=debug,info")]
    Filter,
    /// The thread that writes it cannot be started.
    #[error("the thread that writes the log cannot be started")]
    Thread,
    /// Something else logs already.
    #[error("logging was started before")]
    Started,
}
