//! Exports spans to an OpenTelemetry collector: OTLP over gRPC, in batches.
//!
//! A collector that cannot be reached costs memory for one batch and a full queue, and no call waits
//! for it. The batch is kept and sent again after a growing pause; further spans fill the queue, and
//! are then dropped and counted.

mod client;
mod messages;

use std::{
    fmt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use grantmint_client::tls::Expected;
use http::Uri;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use self::client::Client;
use crate::telemetry::{
    Metrics, TraceMetrics,
    trace::{Sample, SpanRecord, Spans},
};

/// The maximum number of spans in a request.
const MAX_BATCH: usize = 512;

/// How long a batch waits for more spans.
const BATCH_DELAY: Duration = Duration::from_secs(1);

/// The timeout of a request.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the last spans are sent before the process ends without them.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// The pauses after failures.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The settings of traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The collector.
    pub endpoint: Endpoint,
    /// The CAs that verify it, PEM; none for the system's.
    pub ca: Option<PathBuf>,
    /// The share of work without a parent that is recorded.
    pub sample: Sample,
    /// The attributes of this process, with `service.name`.
    pub attributes: Vec<(String, String)>,
}

/// The address of a collector: `http://HOST:PORT` or `https://HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
    /// The name that it must prove; `None` in plain text.
    expected: Option<Expected>,
}

impl Endpoint {
    /// Parses a URL.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXAMPLE: &str = "is not a URL like http://127.0.0.1:4317";
        let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| EXAMPLE)?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(EXAMPLE);
        }
        if uri.authority().is_some_and(|it| it.as_str().contains('@')) {
            return Err("must not contain a user name or password");
        }
        if uri.path() != "/" || uri.query().is_some() {
            return Err("must not have a path: OTLP over gRPC has none");
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let is_https = uri.scheme_str() == Some("https");
        let expected = is_https.then(|| Expected::parse(host)).transpose()?;
        Ok(Self { uri, expected })
    }

    /// Whether it is reached over TLS.
    #[must_use]
    pub const fn is_https(&self) -> bool {
        self.expected.is_some()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.uri.to_string();
        f.write_str(text.trim_end_matches('/'))
    }
}

/// Sends an empty request to the collector, to see whether it accepts any.
///
/// # Errors
///
/// It does not; why, on one line.
pub async fn probe(config: &Config) -> Result<(), String> {
    let exported = Client::new(config).export(&[]).await;
    exported.map(drop).map_err(|status| client::reason(&status))
}

/// Exports spans in a task.
#[derive(Debug)]
pub struct Exporter {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Exporter {
    /// Starts to export `spans`. Needs a runtime.
    #[must_use]
    pub fn start(config: &Config, spans: Spans, metrics: &Metrics) -> Self {
        let endpoint = &config.endpoint;
        tracing::info!(%endpoint, sample = config.sample.share(), "exporting traces");
        let stop = CancellationToken::new();
        let is_failing = Arc::new(AtomicBool::new(false));
        let of_metrics = Arc::clone(&is_failing);
        metrics.trace_export_failing(move || of_metrics.load(Ordering::Relaxed));
        let export = Export {
            client: Client::new(config),
            endpoint: endpoint.clone(),
            spans,
            stop: stop.clone(),
            metrics: metrics.traces(),
            is_failing,
        };
        Self { task: tokio::spawn(export.run()), stop }
    }

    /// Sends the last spans, for up to two seconds.
    pub async fn end(mut self) {
        self.stop.cancel();
        if timeout(FLUSH_TIMEOUT, &mut self.task).await.is_err() {
            self.task.abort();
        }
    }
}

/// The task.
struct Export {
    client: Client,
    endpoint: Endpoint,
    spans: Spans,
    stop: CancellationToken,
    metrics: TraceMetrics,
    is_failing: Arc<AtomicBool>,
}

/// What to do with a batch that was not exported.
enum Failed {
    /// Send it again.
    Retry,
    /// Drop it: the collector refuses it.
    Drop,
}

impl Export {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut batch = Vec::with_capacity(MAX_BATCH);
        while self.fill(&mut batch).await {
            match self.send(&batch).await {
                Err(Failed::Retry) => {
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.stop.cancelled() => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Ok(()) | Err(Failed::Drop) => {
                    batch.clear();
                    pause = FIRST_PAUSE;
                }
            }
        }
        self.flush(batch).await;
    }

    /// Waits for spans until a batch is full or the first one has waited long enough. Returns false
    /// if the process ends.
    async fn fill(&mut self, batch: &mut Vec<SpanRecord>) -> bool {
        let mut deadline = None;
        while batch.len() < MAX_BATCH {
            let more = self.spans.recv_many(batch, MAX_BATCH - batch.len());
            let received = tokio::select! {
                () = self.stop.cancelled() => return false,
                received = async {
                    match deadline {
                        Some(deadline) => timeout_at(deadline, more).await.ok(),
                        None => Some(more.await),
                    }
                } => received,
            };
            match received {
                // No span can follow.
                Some(0) => return false,
                Some(_) => {
                    deadline.get_or_insert_with(|| Instant::now() + BATCH_DELAY);
                }
                None => break,
            }
        }
        !self.stop.is_cancelled()
    }

    /// Sends what is left, once.
    async fn flush(&mut self, mut batch: Vec<SpanRecord>) {
        loop {
            while batch.len() < MAX_BATCH {
                let Ok(span) = self.spans.try_recv() else { break };
                batch.push(span);
            }
            if batch.is_empty() {
                return;
            }
            if let Err(Failed::Retry) = self.send(&batch).await {
                self.metrics.failed(batch.len() as u64);
                return;
            }
            batch.clear();
        }
    }

    async fn send(&mut self, batch: &[SpanRecord]) -> Result<(), Failed> {
        let sent = timeout(EXPORT_TIMEOUT, self.client.export(batch)).await;
        let spans = batch.len() as u64;
        match sent.unwrap_or_else(|_| Err(Status::new(Code::DeadlineExceeded, "no response"))) {
            Ok(rejected) => {
                let rejected = rejected.min(spans);
                self.metrics.failed(rejected);
                self.metrics.exported(spans - rejected);
                if self.is_failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(endpoint = %self.endpoint, "trace export recovered");
                }
                Ok(())
            }
            Err(status) => {
                let failed = failed(status.code());
                if let Failed::Drop = failed {
                    self.metrics.failed(spans);
                }
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    let error = client::reason(&status);
                    tracing::warn!(endpoint = %self.endpoint, error, "trace export failed; retrying");
                }
                Err(failed)
            }
        }
    }
}

/// The codes after which the protocol allows a retry
/// (<https://opentelemetry.io/docs/specs/otlp/#failures>).
const fn failed(code: Code) -> Failed {
    match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss
        // What tonic makes of a connection that cannot be made.
        | Code::Unknown => Failed::Retry,
        _ => Failed::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_is_a_url_without_path_and_password() {
        for (text, shown) in [
            ("http://127.0.0.1:4317", "http://127.0.0.1:4317"),
            ("https://collector.example:4317/", "https://collector.example:4317"),
            ("http://[::1]:4317", "http://[::1]:4317"),
        ] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "",
            "127.0.0.1:4317",
            "grpc://127.0.0.1:4317",
            "http://",
            "http://user:password@127.0.0.1:4317",
            "http://127.0.0.1:4318/v1/traces",
            "http://127.0.0.1:4317/?x=1",
        ] {
            assert!(Endpoint::parse(text).is_err(), "{text}");
        }
    }
}
