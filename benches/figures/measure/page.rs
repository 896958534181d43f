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

/// The time of a round.
const WINDOW: Duration = Duration::from_secs(10);

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let budget = "{ rate = 1000, burst = 1000, concurrent = 64 }";
    let configuration = many::configuration(budget)?;
    let (server, admin) = many::serve(programs, cores, &configuration)?;
    let arrived = many::await_grants(RESOURCES * 99 / 100, async || healthy(&admin).await);
    if let Err(error) = arrived.await {
        report.skip("page".to_owned(), &error);
        return Ok(());
    }

    let (mut idle, mut watched, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.peer_rounds {
        idle.push(load(&server).await?);
        let mut viewers = JoinSet::new();
        for _ in 0..VIEWERS {
            viewers.spawn(view(admin.clone()));
        }
        sleep(SETTLED).await;
        watched.push(load(&server).await?);
        if let Some(ended) = viewers.try_join_next() {
            bail!("a viewer ended: {ended:?}");
        }
        shares.push(watched.last().unwrap_or(&f64::NAN) - idle.last().unwrap_or(&f64::NAN));
        viewers.shutdown().await;
        sleep(SETTLED).await;
    }
    report.series("processor time without a viewer", "of a core", &idle);
    report.series("processor time with 10 viewers", "of a core", &watched);
    report.figure("ten_viewers_share_of_a_core", Goal::AtMost(0.01), &shares);
    Ok(())
}

/// The server's share of a core during a round.
async fn load(server: &Server) -> Result<f64> {
    let (start, before) = (Instant::now(), server.cpu_seconds()?);
    sleep(WINDOW).await;
    Ok((server.cpu_seconds()? - before) / start.elapsed().as_secs_f64())
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
