//! How long a call takes while other things go on, against how long it takes alone.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;

use super::{Programs, Sample, Size, aside::Aside};
use crate::{
    baseline::Baseline,
    load::{self, Target},
    process::Cores,
    report::{Goal, Report, ratios},
};

const SWAP_EVERY: Duration = Duration::from_millis(100);

/// Tokens of one call of the bulk that goes on beside.
const BESIDE: u32 = 100_000;

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let server = programs.serve(cores, cores)?;
    let sample = Sample::of(&server).await?;
    let stock = programs.baseline(&sample.stock(), cores, cores)?;
    let grant = sample.grant;
    let ours = |swap_every| {
        let ours = Baseline::Ours { grant: grant.clone(), swap_every };
        programs.baseline(&ours, &cores.of_server(), cores)
    };
    let (still, swapping) = (ours(None)?, ours(Some(SWAP_EVERY))?);
    let p99 = async |addr| anyhow::Ok(load::unary(addr, load::MANY, size.unary).await?.micros(99));

    let (mut ours_beside, mut stock_beside) = (Beside::default(), Beside::default());
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        without.push(p99(still.addr).await?);
        with.push(p99(swapping.addr).await?);
        ours_beside.measure(server.addr, cores, size.unary).await?;
        stock_beside.measure(stock.addr, cores, size.unary).await?;
    }
    report.series("p99, one grant", "µs", &without);
    report.series("p99, a new grant every 100 ms", "µs", &with);
    report.figure("p99_under_swaps_vs_without", Goal::AtMost(1.1), &ratios(&with, &without));
    report.series("p99 alone", "µs", &ours_beside.alone);
    report.series("p99 beside a bulk", "µs", &ours_beside.beside);
    report.series("the stock server's p99 alone", "µs", &stock_beside.alone);
    report.series("the stock server's p99 beside its bulk", "µs", &stock_beside.beside);
    report.series("the stock server's p99 beside ÷ alone", "ratio", &stock_beside.ratios());
    let beside = ours_beside.ratios();
    report.figure("p99_beside_bulk_vs_alone", Goal::AtMost(3.0), &beside);
    Ok(())
}

/// One server's p99 alone and beside a bulk, by round.
#[derive(Default)]
pub(super) struct Beside {
    pub(super) alone: Vec<f64>,
    pub(super) beside: Vec<f64>,
}

impl Beside {
    async fn measure(&mut self, addr: SocketAddr, cores: &Cores, time: Duration) -> Result<()> {
        self.measure_of(&addr.into(), &addr.into(), BESIDE, cores, time).await
    }

    /// Single calls of one target, and bulks of so many tokens of another.
    pub(super) async fn measure_of(
        &mut self,
        one: &Target,
        many: &Target,
        tokens: u32,
        cores: &Cores,
        time: Duration,
    ) -> Result<()> {
        self.alone.push(load::unary(one.clone(), load::FEW, time).await?.micros(99));
        let many = many.clone();
        let bulk = Aside::start(cores, async move |stop| {
            while !stop.is_set() {
                load::bulk(many.clone(), tokens).await?;
            }
            Ok(())
        });
        self.beside.push(load::unary(one.clone(), load::FEW, time).await?.micros(99));
        bulk.stop()
    }

    pub(super) fn ratios(&self) -> Vec<f64> {
        ratios(&self.beside, &self.alone)
    }
}
