//! Single calls, measured in rounds.

use std::time::Duration;

use anyhow::Result;

use crate::{
    load::{self, Callers, Target, Unary},
    process::Server,
    report::Report,
};

/// One server's single calls by round.
#[derive(Default)]
pub(super) struct Calls {
    pub(super) rate: Vec<f64>,
    pub(super) cpu_micros: Vec<f64>,
    p50_micros: Vec<f64>,
    p99_micros: Vec<f64>,
}

impl Calls {
    /// One round of this duration.
    pub(super) async fn measure(&mut self, server: &Server, time: Duration) -> Result<()> {
        self.measure_at(server, server.addr.into(), time).await
    }

    /// The same for another target on this server.
    pub(super) async fn measure_at(
        &mut self,
        server: &Server,
        target: Target,
        time: Duration,
    ) -> Result<()> {
        self.measure_of(server, target, load::MANY, time).await.map(drop)
    }

    /// The same with this many concurrent calls.
    pub(super) async fn measure_of(
        &mut self,
        server: &Server,
        target: Target,
        callers: Callers,
        time: Duration,
    ) -> Result<Unary> {
        let before = server.cpu_seconds()?;
        let load = load::unary(target, callers, time).await?;
        let cpu = server.cpu_seconds()? - before;
        self.rate.push(load.calls / load.seconds);
        self.cpu_micros.push(cpu / load.calls * 1e6);
        self.p50_micros.push(load.micros(50));
        self.p99_micros.push(load.micros(99));
        Ok(load)
    }

    /// Reports rate, server time, median and p99 of `what`.
    pub(super) fn report(&self, what: &str, report: &mut Report) {
        report.series(format!("{what} calls"), "a second", &self.rate);
        report.series(format!("{what} server CPU"), "µs a call", &self.cpu_micros);
        report.series(format!("{what} p50"), "µs", &self.p50_micros);
        report.series(format!("{what} p99"), "µs", &self.p99_micros);
    }
}
