//! The cost of TLS, and of identifying the caller with rows and quotas.

use std::sync::Arc;

use anyhow::Result;
use rustls::ClientConfig;
use tokio::time::{Instant, sleep};

use super::{Programs, Sample, Size, alone::SETTLED, calls::Calls};
use crate::{
    baseline::Baseline,
    load::{self, Connection, Target},
    process::{Cores, Server},
    report::{Goal, Report, ratios},
    secure::Secure,
};

/// Idle connections, to measure the memory of each.
const IDLE: usize = 512;

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let secure = Secure::new()?;
    let (stranger, caller) = (secure.stranger()?, secure.caller()?);
    let plain = programs.serve_demo("", cores)?;
    let tls = programs.serve_demo(&secure.tls(), cores)?;
    let known = programs.serve_demo(&secure.known_caller("demo"), cores)?;
    let sample = Sample::of(&plain).await?;
    let stock = Baseline::StockOverTls { answer: sample.answer, shown: secure.server.clone() };
    let stock = programs.baseline(&stock, &cores.of_server(), cores)?;
    let over = |server: &Server, config: &Arc<ClientConfig>| Target::over_tls(server.addr, config);

    let (mut plain_calls, mut tls_calls) = (Calls::default(), Calls::default());
    let (mut known_calls, mut echoes) = (Calls::default(), Calls::default());
    let (mut plain_bulk, mut tls_bulk, mut known_bulk) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        plain_calls.measure(&plain, size.unary).await?;
        tls_calls.measure_at(&tls, over(&tls, &stranger), size.unary).await?;
        known_calls.measure_at(&known, over(&known, &caller), size.unary).await?;
        echoes.measure_at(&stock, over(&stock, &stranger), size.unary).await?;
        for (rates, target) in [
            (&mut plain_bulk, plain.addr.into()),
            (&mut tls_bulk, over(&tls, &stranger)),
            (&mut known_bulk, over(&known, &caller)),
        ] {
            rates.push(f64::from(size.bulk) / load::bulk(target, size.bulk).await?.seconds);
        }
    }
    for (calls, what) in [
        (&plain_calls, "plaintext"),
        (&tls_calls, "TLS"),
        (&known_calls, "a known caller:"),
        (&echoes, "echo over TLS"),
    ] {
        calls.report(what, report);
    }
    for (rates, what) in
        [(&plain_bulk, "plaintext"), (&tls_bulk, "TLS"), (&known_bulk, "a known caller:")]
    {
        report.series(format!("{what} bulk tokens"), "a second", rates);
    }
    let vs = |report: &mut Report, name: &str, least, ours: &[f64], theirs: &[f64]| {
        report.figure(name, Goal::AtLeast(least), &ratios(ours, theirs));
    };
    vs(report, "tls_calls_vs_plaintext", 0.8, &tls_calls.rate, &plain_calls.rate);
    vs(report, "tls_bulk_vs_plaintext", 0.5, &tls_bulk, &plain_bulk);
    vs(report, "tls_calls_vs_echo_over_tls", 1.8, &tls_calls.rate, &echoes.rate);
    vs(report, "known_callers_calls_vs_tls", 0.95, &known_calls.rate, &tls_calls.rate);
    vs(report, "known_callers_bulk_vs_tls", 0.95, &known_bulk, &tls_bulk);
    handshakes(&known, &caller, size, report).await?;
    idle(&known, &caller, report).await
}

/// Complete handshakes with certificates on both sides, and the server's cost of one.
async fn handshakes(
    server: &Server,
    caller: &Arc<ClientConfig>,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let (mut rate, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        let (before, start) = (server.cpu_seconds()?, Instant::now());
        let mut count = 0.0;
        while start.elapsed() < size.unary {
            Connection::open(Target::over_tls(server.addr, caller)).await?;
            count += 1.0;
        }
        rate.push(count / start.elapsed().as_secs_f64());
        cpu.push((server.cpu_seconds()? - before) / count * 1e6);
    }
    report.series("handshakes, one after another", "a second", &rate);
    report.series("handshake server CPU", "µs", &cpu);
    Ok(())
}

/// Resident memory of a connection that has made a call and is idle.
async fn idle(server: &Server, caller: &Arc<ClientConfig>, report: &mut Report) -> Result<()> {
    sleep(SETTLED).await;
    let before = server.resident()?;
    let mut connections = Vec::new();
    for _ in 0..IDLE {
        let connection = Connection::open(Target::over_tls(server.addr, caller)).await?;
        connection.mint().await?;
        connections.push(connection);
    }
    sleep(SETTLED).await;
    let each = (server.resident()? - before) / IDLE as f64 / 1e3;
    report.figure("idle_tls_connection_kb", Goal::AtMost(48.0), &[each]);
    drop(connections);
    Ok(())
}
