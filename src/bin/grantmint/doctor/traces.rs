//! The collector of traces.

use std::time::Duration;

use grantmint::otlp::probe;
use tokio::time::timeout;

use super::{
    Context,
    row::{Row, Subject},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the collector accepts a request without spans.
pub(super) async fn check(context: &Context) -> Vec<Row> {
    let Some(config) = &context.config.traces else { return Vec::new() };
    let subject = Subject::new("traces", config.endpoint.to_string());
    let row = match timeout(PATIENCE, probe(config)).await {
        Ok(Ok(())) => subject.ok("accepts spans"),
        Ok(Err(reason)) => subject.failed_for_now(
            format!("does not accept spans: {reason}"),
            "check otlp_endpoint and otlp_ca, and that the collector receives OTLP over gRPC there",
        ),
        Err(_) => subject.failed_for_now(
            format!("does not respond within {} s", PATIENCE.as_secs()),
            "check otlp_endpoint, and that no firewall drops the connection",
        ),
    };
    vec![row]
}
