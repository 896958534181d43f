//! Single calls compared with the peers' servers, relative to the echo's result.

use anyhow::Result;

use super::{Programs, Sample, Size, calls::Calls};
use crate::{
    load,
    peer::Peer,
    process::{Cores, Server},
    report::{Goal, Report, ratios},
};

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let one = cores.of_server();
    let ours = programs.serve(&one, cores)?;
    let sample = Sample::of(&ours).await?;
    let echo = programs.baseline(&sample.stock(), &one, cores)?;
    for peer in Peer::ALL {
        match peer.start(&sample.grant, &one, cores).await {
            Ok(server) => against(peer.name(), [&ours, &echo, &server], size, report).await?,
            Err(reason) => report.skip(format!("{} peer", peer.name()), &reason),
        }
    }
    Ok(())
}

async fn against(
    name: &str,
    [ours, echo, peer]: [&Server; 3],
    size: Size,
    report: &mut Report,
) -> Result<()> {
    // Warm up just-in-time compilers.
    load::unary(peer.addr, load::MANY, size.peer).await?;
    let (mut of_ours, mut of_echo, mut of_peer) =
        (Calls::default(), Calls::default(), Calls::default());
    for _ in 0..size.peer_rounds {
        of_ours.measure(ours, size.peer).await?;
        of_echo.measure(echo, size.peer).await?;
        of_peer.measure(peer, size.peer).await?;
    }
    of_peer.report(&format!("{name} peer"), report);
    let plain = ratios(&of_ours.rate, &of_peer.rate);
    let most = ratios(&of_echo.rate, &of_peer.rate);
    let by_cpu = ratios(&of_peer.cpu_micros, &of_ours.cpu_micros);
    report.series(format!("MintToken ÷ {name} peer"), "ratio", &plain);
    report.series(format!("echo ÷ {name} peer"), "ratio", &most);
    report.series(format!("MintToken ÷ {name} peer by CPU"), "ratio", &by_cpu);
    // The share of the echo's result.
    let figure = format!("unary_vs_{}_peer_share", name.to_lowercase());
    report.figure(figure, Goal::AtLeast(0.95), &ratios(&plain, &most));
    Ok(())
}
