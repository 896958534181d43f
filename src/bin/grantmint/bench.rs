//! `grantmint bench`: how much a server serves, and how soon.

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
use tokio::task::JoinSet;
use tonic::Status;

use self::{
    call::{Ask, Caller},
    load::Load,
    plan::Plan,
    progress::Progress,
    report::Report,
};
use crate::{
    bearer::Connection,
    client::{OptionArgs, ServerArgs},
    exit::Exit,
    failure::Failure,
    output,
};

/// Calls in flight on a connection that keep a server's core busy.
const TOKENS_IN_FLIGHT: u32 = 16;

/// A bulk fills a connection by itself.
const BULKS_IN_FLIGHT: u32 = 1;

/// Measures how much a server serves, and how soon
///
/// Without --rate a closed loop: a call starts when the one before it has ended, so that a server
/// that stalls is asked less, and its stall shows in few of the times. With --rate an open loop:
/// calls are due on a schedule, and their times count from then, whatever the server does.
///
/// Ends early, with the figures so far, on Ctrl-C. Fails where no call was answered.
#[derive(Debug, Args)]
pub(crate) struct BenchCommand {
    /// Mint this many tokens a call, by `MintTokens`; left out: one, by `MintToken`
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    bulk: Option<u32>,
    /// Connections to the server
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = value_parser!(u32).range(1..=1_000))]
    connections: u32,
    /// Calls in flight on each connection at the most [default: 16; with --bulk 1]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000))]
    in_flight: Option<u32>,
    /// Calls to start a second, over all connections; left out: as fast as they are answered
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,
    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = some_time)]
    duration: Duration,
    /// How long to call before that, uncounted
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    warm_up: Duration,
    /// The deadline of each call, from when it is sent
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = some_time)]
    timeout: Duration,
    /// What stands before the number in each call's identity
    #[arg(long, default_value = "bench-")]
    prefix: String,
    /// Write the figures as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: OptionArgs,
    #[command(flatten)]
    server: ServerArgs,
}

impl BenchCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let ask = self.bulk.map_or(Ask::Token, Ask::Tokens);
        let plan = Plan {
            connections: self.connections,
            in_flight: self.in_flight.unwrap_or(match ask {
                Ask::Token => TOKENS_IN_FLIGHT,
                Ask::Tokens(_) => BULKS_IN_FLIGHT,
            }),
            rate: self.rate,
            warm_up: self.warm_up,
            duration: self.duration,
            timeout: self.timeout,
        };
        let callers = self.connect().await?.into_iter().map(|channel| {
            Caller::new(channel, ask, &self.options.to_proto(), &self.prefix, plan.timeout)
        });
        let progress = Progress::new(&plan, self.json);
        let figures = Load::start(plan.clone(), callers)?.run(progress).await?;
        let report = Report { ask, plan: &plan, figures: &figures };
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

/// So that no time that follows from one that is given is more than can be told.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if time > LONGEST { Err("it is 30 days at the most".to_owned()) } else { Ok(time) }
}

fn some_time(text: &str) -> Result<Duration, String> {
    let time = time(text)?;
    if time.is_zero() { Err("it must be longer than that".to_owned()) } else { Ok(time) }
}
