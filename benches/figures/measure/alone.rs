//! What needs no baseline: the time of a start, and memory.

use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::{Programs, Size};
use crate::{
    load::{self, Connection},
    process::Cores,
    report::{Goal, Report},
};

const MEGABYTE: f64 = 1e6;

/// Streams whose readers stop, and the connections that they share.
const STOPPED: usize = 64;
const STOPPED_A_CONNECTION: usize = 8;

/// The windows of a reader that stops: the smallest there are, so that what it was sent
/// already is not counted as held.
const SETTLED: Duration = Duration::from_millis(1_000);

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

/// Resident memory: with nothing to do, and of each bulk whose reader has stopped.
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
            stopped.push(connection.call("MintTokens", load::series(1_000_000)?).await?);
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
