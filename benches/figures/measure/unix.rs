//! The gain of a Unix socket over TCP on loopback, for one server that listens on both.

use anyhow::Result;
use tempfile::TempDir;

use super::{Programs, Size, calls::Calls};
use crate::{
    load::{self, Connection, Target},
    process::Cores,
    report::{Goal, Report, ratios},
};

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let dir = TempDir::new()?;
    let path = dir.path().join("api.sock");
    let tables = format!("[server]\nunix = {{ path = \"{}\" }}\n", path.display());
    let server = programs.serve_demo(&tables, cores)?;
    // The grant exists once a call has succeeded.
    Connection::open(server.addr).await?.mint().await?;
    let socket = || Target::at_socket(&path);

    let (mut tcp_calls, mut unix_calls) = (Calls::default(), Calls::default());
    let (mut tcp_bulk, mut unix_bulk) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        tcp_calls.measure(&server, size.unary).await?;
        unix_calls.measure_at(&server, socket(), size.unary).await?;
        for (rates, target) in [(&mut tcp_bulk, server.addr.into()), (&mut unix_bulk, socket())] {
            rates.push(f64::from(size.bulk) / load::bulk(target, size.bulk).await?.seconds);
        }
    }
    for (calls, what) in [(&tcp_calls, "TCP"), (&unix_calls, "Unix socket")] {
        calls.report(what, report);
    }
    for (rates, what) in [(&tcp_bulk, "TCP"), (&unix_bulk, "Unix socket")] {
        report.series(format!("{what} bulk tokens"), "a second", rates);
    }
    for (name, ours, theirs) in [
        ("unix_calls_vs_tcp", &unix_calls.rate, &tcp_calls.rate),
        ("unix_bulk_vs_tcp", &unix_bulk, &tcp_bulk),
    ] {
        report.figure(name, Goal::AtLeast(1.0), &ratios(ours, theirs));
    }
    Ok(())
}
