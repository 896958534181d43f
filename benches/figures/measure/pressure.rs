//! What a known caller retains while others exceed their limits, and under overload.

use std::sync::Arc;

use anyhow::Result;
use rustls::ClientConfig;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval};

use super::{Programs, Size, background::Background, calls::Calls};
use crate::{
    load::{self, Callers, Connection, Target},
    process::{Cores, Server},
    report::{Goal, Report, ratios},
    secure::{QUOTA, Secure},
};

/// Ten times the concurrent calls that keep a core busy.
const TOO_MANY: Callers = load::MANY.times(10);

/// Connections of a caller that exceeds its quota, and its calls on each.
const GREEDY: (usize, usize) = (4, 32);

/// Unread bulks on each of two connections.
const STOPPED: usize = 128;

/// Calls started and cancelled per tick, just within the limit.
const CANCELLED: usize = 20;
const TICK: Duration = Duration::from_millis(10);

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let secure = Secure::new()?;
    let server = programs.serve_demo(&secure.two_callers("demo"), cores)?;
    let over = |config: &Arc<ClientConfig>| Target::over_tls(server.addr, config);
    let (caller, other) = (over(&secure.caller()?), over(&secure.other_caller()?));
    with_a_greedy_caller((&caller, &other), &server, cores, size, report).await?;
    too_much_load(&caller, &server, size, report).await?;
    under_attack((&caller, &other), &server, cores, size, report).await
}

/// What one caller retains while another far exceeds its quota: the rate, and the server time per
/// call.
async fn with_a_greedy_caller(
    (caller, other): (&Target, &Target),
    server: &Server,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let (mut alone, mut beside) = (Calls::default(), Calls::default());
    let (mut requested, mut minted) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        alone.measure_at(server, caller.clone(), size.unary).await?;
        let (other, began) = (other.clone(), Instant::now());
        let greedy = Background::start(cores, async move |stop| {
            load::greedy(other, GREEDY, || stop.is_set()).await
        });
        beside.measure_at(server, caller.clone(), size.unary).await?;
        let greedy = greedy.stop()?;
        let seconds = began.elapsed().as_secs_f64();
        requested.push(greedy.calls / seconds / f64::from(QUOTA));
        minted.push(greedy.minted / seconds / f64::from(QUOTA));
    }
    alone.report("a known caller alone:", report);
    beside.report("a known caller next to a greedy one:", report);
    report.series("requests of the greedy one", "quotas", &requested);
    report.series("tokens of the greedy one", "quotas", &minted);
    retained("other_callers_beside_ten_times_a_quota", 0.95, &beside, &alone, report);
    Ok(())
}

/// Ten times as many calls in flight as the peak needs.
async fn too_much_load(
    caller: &Target,
    server: &Server,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let (mut peak, mut more, mut waits) = (Calls::default(), Calls::default(), Vec::new());
    for _ in 0..size.rounds {
        peak.measure_at(server, caller.clone(), size.unary).await?;
        let load = more.measure_of(server, caller.clone(), TOO_MANY, size.unary).await?;
        // Each call waits for all calls in flight with it.
        let queue = TOO_MANY.calls() / (load.calls / load.seconds);
        waits.push(load.micros(99) / 1e6 / queue);
    }
    peak.report("at the peak:", report);
    more.report("at ten times the load:", report);
    retained("goodput_at_ten_times_the_load", 0.9, &more, &peak, report);
    report.figure("p99_at_ten_times_the_load_vs_queue", Goal::AtMost(2.0), &waits);
    Ok(())
}

/// The retained share of a rate, and the same by server time, which is independent of other
/// programs on the cores.
fn retained(name: &str, least: f64, under: &Calls, before: &Calls, report: &mut Report) {
    report.figure(name, Goal::AtLeast(least), &ratios(&under.rate, &before.rate));
    let by_cpu = ratios(&before.cpu_micros, &under.cpu_micros);
    report.series(format!("{name}, by server CPU"), "ratio", &by_cpu);
}

/// Latency at low load while another caller attacks.
async fn under_attack(
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
        let resets =
            Background::start(cores, async move |stop| cancel(other, || stop.is_set()).await);
        cancelled.push(p99().await?);
        resets.stop()?;
    }
    report.series("a known caller's p99 alone", "µs", &alone);
    report.series("p99 next to 256 stopped readers", "µs", &stopped);
    report.series("held by 256 stopped readers", "MB", &held);
    report.series("p99 next to 2,000 resets a second", "µs", &cancelled);
    for (name, beside) in [
        ("p99_beside_stopped_readers_vs_alone", &stopped),
        ("p99_beside_resets_vs_alone", &cancelled),
    ] {
        report.figure(name, Goal::AtMost(3.0), &ratios(beside, &alone));
    }
    Ok(())
}

/// Bulks whose client opens no window.
async fn stopped_readers(target: &Target) -> Result<impl Sized + use<>> {
    let mut held = Vec::new();
    for _ in 0..2 {
        let connection = Connection::open_with_window(target.clone(), 0).await?;
        for _ in 0..STOPPED {
            held.push(connection.call("MintTokens", load::series("", 1_000_000)?).await?);
        }
    }
    Ok(held)
}

/// Starts and cancels as many calls as are tolerated.
async fn cancel(target: Target, stop: impl Fn() -> bool) -> Result<()> {
    let connection = Connection::open(target).await?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut started = Vec::new();
    while !stop() {
        ticks.tick().await;
        started.drain(..).for_each(load::StartedCall::cancel);
        for _ in 0..CANCELLED {
            started.push(connection.begin("MintTokens").await?);
        }
    }
    Ok(())
}
