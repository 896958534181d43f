//! The event stream of the status page, with many resources and several viewers.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::{
    io::AsyncReadExt,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Programs, Size,
    alone::SETTLED,
    many::{self, RESOURCES},
};
use crate::{
    process::{Cores, Server},
    report::{Goal, Report},
};

const VIEWERS: usize = 10;

/// The time of a measurement.
const WINDOW: Duration = Duration::from_secs(10);

/// The same while grants are refreshed: each is once, on average.
const CYCLE: Duration = Duration::from_millis(47_500);

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let (server, admin) = serve(programs, cores, many::OF_AN_HOUR).await?;
    let (idle, watched) = loads(&server, &admin, size.peer_rounds, WINDOW).await?;
    report.series("processor time without a viewer", "of a core", &idle);
    report.series("processor time with 10 viewers", "of a core", &watched);
    let shares: Vec<_> = watched.iter().zip(&idle).map(|(watched, idle)| watched - idle).collect();
    report.figure("ten_viewers_share_of_a_core", Goal::AtMost(0.01), &shares);

    drop(server);
    let (server, admin) = serve(programs, cores, many::OF_A_MINUTE).await?;
    let (idle, watched) = loads(&server, &admin, 1, CYCLE).await?;
    report.series("without a viewer, grants of a minute", "of a core", &idle);
    report.series("with 10 viewers, grants of a minute", "of a core", &watched);
    Ok(())
}

/// A server with a grant for each resource of this profile.
async fn serve(programs: &Programs, cores: &Cores, profile: &str) -> Result<(Server, String)> {
    let (server, admin) = many::serve(programs, cores, profile)?;
    many::await_grants(RESOURCES * 99 / 100, async || healthy(&admin).await).await?;
    Ok((server, admin))
}

/// The server's loads without and with viewers.
async fn loads(
    server: &Server,
    admin: &str,
    rounds: usize,
    window: Duration,
) -> Result<(Vec<f64>, Vec<f64>)> {
    let (mut idle, mut watched) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        sleep(SETTLED).await;
        idle.push(load(server, window).await?);
        let mut viewers = JoinSet::new();
        for _ in 0..VIEWERS {
            viewers.spawn(view(admin.to_owned()));
        }
        sleep(SETTLED).await;
        watched.push(load(server, window).await?);
        if let Some(ended) = viewers.try_join_next() {
            bail!("a viewer ended: {ended:?}");
        }
        viewers.shutdown().await;
    }
    Ok((idle, watched))
}

/// The server's share of a core during this time. The threads that render may end meanwhile.
async fn load(server: &Server, window: Duration) -> Result<f64> {
    let (start, before) = (Instant::now(), server.cpu_seconds_with_ended()?);
    sleep(window).await;
    Ok((server.cpu_seconds_with_ended()? - before) / start.elapsed().as_secs_f64())
}

/// Reads events until the server closes the stream.
async fn view(admin: String) -> Result<()> {
    let mut stream = many::get(&admin, "/events", "").await?;
    let mut buffer = vec![0; 65_536];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// The number of healthy grants.
async fn healthy(admin: &str) -> Result<usize> {
    let mut response = String::new();
    let mut stream = many::get(admin, "/status.json?limit=0", "").await?;
    stream.read_to_string(&mut response).await?;
    let (_, body) = response.split_once("\r\n\r\n").context("no body")?;
    let status: serde_json::Value = serde_json::from_str(body)?;
    let ok = status["grants"]["health"]["ok"].as_u64().unwrap_or(0);
    Ok(usize::try_from(ok)?)
}
