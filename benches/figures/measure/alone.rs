//! Measurements without a baseline: startup time and memory.

use std::time::Duration;

use anyhow::Result;
use grantmint::clock::Clock;
use tokio::time::{Instant, sleep};

use super::{Programs, Sample, Size};
use crate::{
    live::Live,
    load::{self, Connection},
    process::{Cores, resident},
    report::{Goal, Report, ratios},
};

pub(super) const MEGABYTE: f64 = 1e6;

/// Streams with stopped readers, and streams per connection.
const STOPPED: usize = 64;
const STOPPED_A_CONNECTION: usize = 8;

/// The time after which a process is idle.
pub(super) const SETTLED: Duration = Duration::from_secs(1);

/// From the start of `serve --sandbox` to its first token.
pub(super) async fn start(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let mut milliseconds = Vec::new();
    for _ in 0..size.starts {
        let start = Instant::now();
        let server = programs.serve(cores, cores)?;
        Connection::open(server.addr).await?.mint().await?;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
    }
    report.series("start to first token", "ms", &milliseconds);
    report.figure("start_to_first_token_ms", Goal::AtMost(150.0), &milliseconds);
    Ok(())
}

/// Resident memory: idle, and for each bulk with a stopped reader.
pub(super) async fn memory(programs: &Programs, cores: &Cores, report: &mut Report) -> Result<()> {
    let server = programs.serve(cores, cores)?;
    let warm = Connection::open(server.addr).await?;
    warm.mint().await?;
    sleep(SETTLED).await;
    let idle = server.resident()?;

    let mut connections = Vec::new();
    let mut stopped = Vec::new();
    for number in 0..STOPPED {
        if number % STOPPED_A_CONNECTION == 0 {
            connections.push(Connection::open(server.addr).await?);
        }
        if let Some(connection) = connections.last() {
            stopped.push(connection.call("MintTokens", load::series("", 1_000_000)?).await?);
        }
    }
    sleep(SETTLED).await;
    let each = (server.resident()? - idle) / stopped.len() as f64;
    report.series("idle resident memory", "MB", &[idle / MEGABYTE]);
    report.series("resident memory of a stopped bulk", "KB", &[each / 1e3]);
    report.figure("idle_memory_mb", Goal::AtMost(20.0), &[idle / MEGABYTE]);
    report.figure("stopped_bulk_memory_kb", Goal::AtMost(256.0), &[each / 1e3]);
    Ok(())
}

/// The cost of many live grants: a token of a random one, and memory.
pub(super) async fn many_grants(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let grant = Sample::of(&programs.serve(cores, cores)?).await?.grant;
    let one = Live::new(1, &grant, Clock::system())?;
    let before = resident(std::process::id())?;
    let many = Live::new(size.grants, &grant, Clock::system())?;
    // As if each grant were used ten times within a second or two.
    let tokens = u32::try_from(size.grants * 10)?;
    many.mint(tokens)?;
    let each = (resident(std::process::id())? - before) / size.grants as f64;
    let own = grant.get().len() as f64;
    let (mut of_one, mut of_many) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds.min(5) {
        of_one.push(one.mint(tokens)?);
        of_many.push(many.mint(tokens)?);
    }
    report.series("a whole mint, one live grant", "ns", &of_one);
    report.series("a whole mint, many live grants", "ns", &of_many);
    report.figure(
        "mint_with_many_grants_vs_one_by_time",
        Goal::AtMost(1.5),
        &ratios(&of_many, &of_one),
    );
    report.series("a live grant beyond its bytes", "bytes", &[each - own]);
    report.figure("memory_a_grant_kb", Goal::AtMost(4.0), &[(each - own) / 1e3]);
    Ok(())
}
