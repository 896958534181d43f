//! The event stream of the status page, with many resources and several viewers.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{DEMO_PROFILE, Programs, Size, alone::SETTLED};
use crate::{
    configuration::Configuration,
    process::{Cores, Server},
    report::{Goal, Report},
};

/// The resources of one profile.
const RESOURCES: usize = 10_000;

const VIEWERS: usize = 10;

/// The time in which all grants arrive.
const ARRIVE: Duration = Duration::from_secs(120);

/// The time of a round.
const WINDOW: Duration = Duration::from_secs(10);

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let resources: Vec<String> = (0..RESOURCES).map(|it| format!("\"VJ{it:032x}\"")).collect();
    let profile = DEMO_PROFILE.lines().filter(|line| !line.starts_with("resources"));
    let budget = "budget = { rate = 1000, burst = 1000, concurrent = 64 }";
    let text = format!(
        "{}\n{budget}\nresources = [{}]\n",
        profile.collect::<Vec<_>>().join("\n"),
        resources.join(",")
    );
    let configuration = Configuration::new(text)?;
    let server = programs.serve_configured(&configuration, &cores.of_server(), cores)?;
    let admin = server.admin.as_deref().context("no admin listener")?;
    let start = Instant::now();
    while healthy(admin).await? < RESOURCES as u64 * 99 / 100 {
        if start.elapsed() > ARRIVE {
            bail!("not every grant arrived within {ARRIVE:?}");
        }
        sleep(Duration::from_secs(1)).await;
    }

    let (mut idle, mut watched, mut shares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..size.peer_rounds {
        idle.push(load(&server).await?);
        let mut viewers = JoinSet::new();
        for _ in 0..VIEWERS {
            viewers.spawn(view(admin.to_owned()));
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
    let mut stream = request(&admin, "/events").await?;
    let mut buffer = vec![0; 65_536];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// The number of healthy grants.
async fn healthy(admin: &str) -> Result<u64> {
    let mut response = String::new();
    request(admin, "/status.json?limit=0").await?.read_to_string(&mut response).await?;
    let (_, body) = response.split_once("\r\n\r\n").context("no body")?;
    let status: serde_json::Value = serde_json::from_str(body)?;
    Ok(status["grants"]["health"]["ok"].as_u64().unwrap_or(0))
}

async fn request(admin: &str, path: &str) -> Result<TcpStream> {
    let authority = admin.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(authority).await?;
    let close = "connection: close";
    let request = format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n{close}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}
