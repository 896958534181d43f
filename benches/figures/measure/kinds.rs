//! A server with a profile of each kind: its memory compared with a server with only the demo's
//! profile, and its startup time.

use anyhow::{Result, anyhow};
use tokio::time::{Instant, sleep};

use super::{
    Programs, Size,
    alone::{MEGABYTE, SETTLED},
};
use crate::{
    configuration::Configuration,
    load::Connection,
    process::{Cores, Server},
    report::{Goal, Report},
};

/// Pairs of servers to compare.
const PAIRS: usize = 3;

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let (configuration, missing) = Configuration::of_all_kinds()?;
    for kind in missing {
        report.skip(format!("{kind} among all kinds"), &anyhow!("no example of it is read"));
    }
    let serve = || programs.serve_configured(&configuration, cores, cores);

    let (mut idle, mut further) = (Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let pair = [serve()?, programs.serve(cores, cores)?];
        for server in &pair {
            first_token(server).await?;
        }
        sleep(SETTLED).await;
        let [all, demo] = [pair[0].resident()?, pair[1].resident()?];
        idle.push(all / MEGABYTE);
        further.push((all - demo) / MEGABYTE);
    }
    report.series("idle resident memory, all kinds", "MB", &idle);
    report.figure("all_kinds_idle_memory", Goal::AtMost(4.0), &further);

    let mut milliseconds = Vec::new();
    for _ in 0..size.starts {
        let start = Instant::now();
        first_token(&serve()?).await?;
        milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
    }
    report.series("start to first token, all kinds", "ms", &milliseconds);
    report.figure("all_kinds_start_to_first_token", Goal::AtMost(150.0), &milliseconds);
    Ok(())
}

async fn first_token(server: &Server) -> Result<()> {
    Connection::open(server.addr).await?.mint().await.map(drop)
}
