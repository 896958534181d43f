//! What a known caller keeps while others ask for more than they may have, and while it asks for
//! more than there is.

use std::sync::Arc;

use anyhow::Result;
use rustls::ClientConfig;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval};

use super::{Programs, Size, aside::Aside, tls::PROFILE};
use crate::{
    configuration::Configuration,
    load::{self, Callers, Connection, Target},
    process::{Cores, Server},
    report::{Goal, Report, ratios},
    secure::{QUOTA, Secure},
};

/// Ten times as many calls at a time as keep a core busy.
const TOO_MANY: Callers = load::MANY.times(10);

/// Connections of a caller that asks for more than its quota, and its calls on each.
const GREEDY: (usize, usize) = (4, 32);

/// Bulks that are not read, on each of two connections.
const STOPPED: usize = 128;

/// Calls that are begun and taken back in a tick, just within what ends a connection.
const CANCELLED: usize = 20;
const TICK: Duration = Duration::from_millis(10);

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let secure = Secure::new()?;
    let configuration = Configuration::new(secure.two_callers("demo") + PROFILE)?;
    let server = programs.serve_configured(&configuration, &cores.of_server(), cores)?;
    let over = |config: &Arc<ClientConfig>| Target::over_tls(server.addr, config);
    let (caller, other) = (over(&secure.caller()?), over(&secure.other_caller()?));
    beside_a_greedy_caller(&caller, &other, cores, size, report).await?;
    too_much_load(&caller, size, report).await?;
    beside_attacks((&caller, &other), &server, cores, size, report).await
}

/// The rate of one caller while another asks for far more than its quota.
async fn beside_a_greedy_caller(
    caller: &Target,
    other: &Target,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let (mut asked, mut minted) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        let rate = async || {
            let load = load::unary(caller.clone(), load::MANY, size.unary).await?;
            anyhow::Ok(load.calls / load.seconds)
        };
        alone.push(rate().await?);
        let (other, began) = (other.clone(), Instant::now());
        let greedy = Aside::start(cores, async move |stop| {
            load::greedy(other, GREEDY, || stop.is_set()).await
        });
        beside.push(rate().await?);
        let greedy = greedy.stop()?;
        let seconds = began.elapsed().as_secs_f64();
        asked.push(greedy.calls / seconds / f64::from(QUOTA));
        minted.push(greedy.minted / seconds / f64::from(QUOTA));
    }
    report.series("calls alone", "a second", &alone);
    report.series("calls beside a greedy caller", "a second", &beside);
    report.series("what that one asks for", "quotas", &asked);
    report.series("what that one gets", "quotas", &minted);
    let kept = ratios(&beside, &alone);
    report.figure("other_callers_beside_ten_times_a_quota", Goal::AtLeast(0.95), &kept);
    Ok(())
}

/// Ten times as many calls in flight as the peak needs.
async fn too_much_load(caller: &Target, size: Size, report: &mut Report) -> Result<()> {
    let (mut peak, mut rate, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        let load = load::unary(caller.clone(), load::MANY, size.unary).await?;
        peak.push(load.calls / load.seconds);
        let load = load::unary(caller.clone(), TOO_MANY, size.unary).await?;
        rate.push(load.calls / load.seconds);
        // Each call waits for all that are in flight with it.
        let queue = TOO_MANY.calls() / (load.calls / load.seconds);
        waits.push(load.micros(99) / 1e6 / queue);
    }
    report.series("peak calls", "a second", &peak);
    report.series("calls at ten times the load", "a second", &rate);
    let goodput = ratios(&rate, &peak);
    report.figure("goodput_at_ten_times_the_load", Goal::AtLeast(0.9), &goodput);
    report.figure("p99_at_ten_times_the_load_vs_queue", Goal::AtMost(2.0), &waits);
    Ok(())
}

/// How long few calls take while another caller attacks.
async fn beside_attacks(
    (caller, other): (&Target, &Target),
    server: &Server,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let p99 =
        async || anyhow::Ok(load::unary(caller.clone(), load::FEW, size.unary).await?.micros(99));
    let (mut alone, mut stopped, mut cancelled) = (Vec::new(), Vec::new(), Vec::new());
    let mut held = Vec::new();
    for _ in 0..size.rounds {
        alone.push(p99().await?);
        let before = server.resident()?;
        let readers = stopped_readers(other).await?;
        stopped.push(p99().await?);
        held.push((server.resident()? - before) / 1e6);
        drop(readers);
        let other = other.clone();
        let resets = Aside::start(cores, async move |stop| cancel(other, || stop.is_set()).await);
        cancelled.push(p99().await?);
        resets.stop()?;
    }
    report.series("a known caller's p99 alone", "µs", &alone);
    report.series("p99 beside 256 stopped readers", "µs", &stopped);
    report.series("held by 256 stopped readers", "MB", &held);
    report.series("p99 beside 2,000 resets a second", "µs", &cancelled);
    for (name, beside) in [
        ("p99_beside_stopped_readers_vs_alone", &stopped),
        ("p99_beside_resets_vs_alone", &cancelled),
    ] {
        report.figure(name, Goal::AtMost(3.0), &ratios(beside, &alone));
    }
    Ok(())
}

/// Bulks whose client gives them no room.
async fn stopped_readers(target: &Target) -> Result<impl Sized + use<>> {
    let mut held = Vec::new();
    for _ in 0..2 {
        let connection = Connection::open_with_window(target.clone(), 0).await?;
        for _ in 0..STOPPED {
            held.push(connection.call("MintTokens", load::series(1_000_000)?).await?);
        }
    }
    Ok(held)
}

/// Begins calls and takes them back, as many as are tolerated.
async fn cancel(target: Target, stop: impl Fn() -> bool) -> Result<()> {
    let connection = Connection::open(target).await?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut begun = Vec::new();
    while !stop() {
        ticks.tick().await;
        begun.drain(..).for_each(load::Begun::cancel);
        for _ in 0..CANCELLED {
            begun.push(connection.begin("MintTokens").await?);
        }
    }
    Ok(())
}
