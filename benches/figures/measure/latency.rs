//! Latency during other work, compared with latency alone.

use std::{net::SocketAddr, time::Duration};

use anyhow::Result;

use super::{Programs, Sample, Size, background::Background};
use crate::{
    baseline::Baseline,
    load::{self, Target},
    process::Cores,
    report::{Goal, Report, ratios},
};

const SWAP_EVERY: Duration = Duration::from_millis(100);

/// Tokens per call of the concurrent bulk.
const BULK_TOKENS: u32 = 100_000;

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

    let (mut ours, mut theirs) = (Latency::default(), Latency::default());
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        without.push(p99(still.addr).await?);
        with.push(p99(swapping.addr).await?);
        ours.measure(server.addr, cores, size.unary).await?;
        theirs.measure(stock.addr, cores, size.unary).await?;
    }
    report.series("p99, one grant", "µs", &without);
    report.series("p99, a new grant every 100 ms", "µs", &with);
    report.figure("p99_under_swaps_vs_without", Goal::AtMost(1.1), &ratios(&with, &without));
    report.series("p99 alone", "µs", &ours.alone);
    report.series("p99 next to a bulk", "µs", &ours.with_bulk);
    report.series("the stock server's p99 alone", "µs", &theirs.alone);
    report.series("the stock server's p99 next to its bulk", "µs", &theirs.with_bulk);
    report.series("the stock server's p99 next to its bulk ÷ alone", "ratio", &theirs.ratios());
    let ratios = ours.ratios();
    report.figure("p99_beside_bulk_vs_alone", Goal::AtMost(3.0), &ratios);
    Ok(())
}

/// One server's p99 alone and next to a bulk, by round.
#[derive(Default)]
pub(super) struct Latency {
    pub(super) alone: Vec<f64>,
    pub(super) with_bulk: Vec<f64>,
}

impl Latency {
    async fn measure(&mut self, addr: SocketAddr, cores: &Cores, time: Duration) -> Result<()> {
        self.measure_of(&addr.into(), &addr.into(), BULK_TOKENS, cores, time).await
    }

    /// Single calls of one target, next to bulks of this many tokens of another.
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
        let bulk = Background::start(cores, async move |stop| {
            while !stop.is_set() {
                load::bulk(many.clone(), tokens).await?;
            }
            Ok(())
        });
        self.with_bulk.push(load::unary(one.clone(), load::FEW, time).await?.micros(99));
        bulk.stop()
    }

    pub(super) fn ratios(&self) -> Vec<f64> {
        ratios(&self.with_bulk, &self.alone)
    }
}
