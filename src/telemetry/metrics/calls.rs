//! gRPC calls.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;

use super::{
    Metrics,
    definitions::Definitions,
    labels::{Counters, Histograms, with},
};
use crate::telemetry::histogram::{Histogram, Scale};

/// The duration of calls: minting takes microseconds, waiting for a grant up to 10 s.
pub(super) static HANDLING: Scale = Scale {
    bounds: &[
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_micros(2_500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2_500),
        Duration::from_secs(5),
        Duration::from_secs(10),
    ],
    ticks_a_second: 1_000_000,
};

/// The gRPC metrics have the names of go-grpc-prometheus, which dashboards know.
pub(super) struct Families {
    started: Counters,
    handled: Counters,
    handling: Histograms,
    streams_reset: Counters,
}

impl Families {
    pub(super) fn define(define: &mut Definitions) -> Self {
        Self {
            started: define.plain("grpc_server_started", "gRPC calls started, by method"),
            handled: define.plain("grpc_server_handled", "gRPC calls completed, by method and code"),
            handling: define.histograms(
                "grpc_server_handling",
                "Time from a gRPC call's headers to its end, by method",
                &HANDLING,
            ),
            streams_reset: define.plain(
                "grantmint_streams_reset",
                "Calls reset before their response was complete, by cause: stalled (the client kept its window closed), unread (the client read its connection too slowly), grace (open at the end of its connection's grace period)",
            ),
        }
    }
}

impl Metrics {
    /// The handles of one RPC: `codes` are the names of all possible status codes.
    #[must_use]
    pub fn rpc(&self, kind: &str, service: &str, method: &str, codes: &[&str]) -> RpcMetrics {
        let families = &self.0.calls;
        let labels = vec![
            ("grpc_type", kind.to_owned()),
            ("grpc_service", service.to_owned()),
            ("grpc_method", method.to_owned()),
        ];
        let handled = codes
            .iter()
            .map(|code| families.handled.get_or_create_owned(&with(&labels, "grpc_code", code)));
        RpcMetrics {
            handled: handled.collect(),
            started: families.started.get_or_create_owned(&labels),
            took: families.handling.get_or_create_owned(&labels),
        }
    }

    /// The handles of calls that are reset.
    #[must_use]
    pub fn streams_reset(&self) -> ResetMetrics {
        let counter = |cause: &str| {
            self.0.calls.streams_reset.get_or_create_owned(&vec![("cause", cause.to_owned())])
        };
        ResetMetrics {
            stalled: counter("stalled"),
            unread: counter("unread"),
            grace: counter("grace"),
        }
    }
}

/// What one RPC records.
#[derive(Clone, Debug)]
pub struct RpcMetrics {
    started: Counter,
    handled: Vec<Counter>,
    took: Histogram,
}

impl RpcMetrics {
    /// A call began.
    pub fn started(&self) {
        self.started.inc();
    }

    /// A call completed after `took` with the code at this index.
    pub fn handled(&self, code: usize, took: Duration) {
        if let Some(counter) = self.handled.get(code) {
            counter.inc();
        }
        self.took.record(took, 1);
    }
}

/// What is recorded of calls that a connection resets.
#[derive(Clone, Debug)]
pub struct ResetMetrics {
    stalled: Counter,
    unread: Counter,
    grace: Counter,
}

impl ResetMetrics {
    /// A call was reset: its client kept the window closed.
    pub fn stalled(&self) {
        self.stalled.inc();
    }

    /// This many calls ended with a connection whose client read too slowly.
    pub fn unread(&self, calls: usize) {
        self.unread.inc_by(calls as u64);
    }

    /// This many calls were open when their connection's grace ended.
    pub fn grace(&self, calls: usize) {
        self.grace.inc_by(calls as u64);
    }
}
