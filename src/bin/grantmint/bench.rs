//! `grantmint bench`: the throughput and latency of a server.

mod call;
mod format;
mod load;
mod pace;
mod plan;
mod progress;
mod report;
mod tally;

use std::time::Duration;

use clap::{Args, value_parser};
use grantmint_client::Connection;
use tokio::task::JoinSet;
use tonic::Status;

use self::{
    call::{Caller, Method},
    load::Load,
    plan::Plan,
    progress::Progress,
    report::Report,
};
use crate::{
    client::{OptionArgs, ServerArgs},
    exit::Exit,
    failure::Failure,
    output,
};

/// Calls in flight per connection: enough to keep a server's core busy.
const TOKENS_IN_FLIGHT: u32 = 16;

/// One bulk call fills a connection.
const BULKS_IN_FLIGHT: u32 = 1;

/// Measure the throughput and latency of a server
///
/// Without --rate the load is a closed loop: each call starts when the previous one ends. A server
/// that stalls receives fewer calls, so its stall affects few of the latencies. With --rate the
/// load is an open loop: calls are due on a schedule, and latency counts from when a call is due.
///
/// Ctrl-C stops early and prints the figures so far. Fails if no call succeeded.
#[derive(Debug, Args)]
pub(crate) struct BenchCommand {
    /// Mint this many tokens per call with `MintTokens`; default: one with `MintToken`
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    bulk: Option<u32>,
    /// Connections to the server
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Maximum calls in flight per connection [default: 16; with --bulk 1]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000))]
    in_flight: Option<u32>,
    /// Calls to start per second, over all connections; default: unlimited
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = nonzero_duration)]
    duration: Duration,
    /// How long to send calls before measuring
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = bounded_duration)]
    warm_up: Duration,
    /// Deadline of each call, from when it is sent
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = nonzero_duration)]
    timeout: Duration,
    /// Prefix of each call's identity, before the number of the call
    #[arg(long, default_value = "bench-")]
    prefix: String,
    /// Print the figures as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: OptionArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl BenchCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let method = self.bulk.map_or(Method::MintToken, Method::MintTokens);
        let plan = Plan {
            connections: self.connections,
            in_flight: self.in_flight.unwrap_or(match method {
                Method::MintToken => TOKENS_IN_FLIGHT,
                Method::MintTokens(_) => BULKS_IN_FLIGHT,
            }),
            rate: self.rate,
            warm_up: self.warm_up,
            duration: self.duration,
            timeout: self.timeout,
        };
        let callers = self.connect().await?.into_iter().map(|channel| {
            Caller::new(channel, method, &self.options.to_proto(), &self.prefix, plan.timeout)
        });
        let progress = Progress::new(&plan, self.json);
        let figures = Load::start(plan.clone(), callers)?.run(progress).await?;
        let report = Report { method, plan: &plan, figures: &figures };
        output::data(&if self.json { report.to_json().to_string() } else { report.to_string() })?;
        figures.outcome()
    }

    async fn connect(&self) -> Result<Vec<Connection>, Status> {
        let mut connecting = JoinSet::new();
        for _ in 0..self.connections {
            let server = self.server.clone();
            connecting.spawn(async move { server.connect().await });
        }
        connecting.join_all().await.into_iter().collect()
    }
}

/// Keeps sums of durations and instants from overflowing.
const MAX_DURATION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

fn bounded_duration(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time > MAX_DURATION { Err("must be at most 30 days".to_owned()) } else { Ok(time) }
}

fn nonzero_duration(text: &str) -> Result<Duration, String> {
    let time = bounded_duration(text)?;
    if time.is_zero() { Err("must be greater than 0".to_owned()) } else { Ok(time) }
}
