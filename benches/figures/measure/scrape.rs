//! The metrics page of a process with many resources.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use super::{DEMO_PROFILE, Programs, Size, alone::MEGABYTE};
use crate::{
    configuration::Configuration,
    process::Cores,
    report::{Goal, Report},
};

/// The resources of one profile.
const RESOURCES: usize = 10_000;

/// The time in which all grants arrive.
const ARRIVE: Duration = Duration::from_secs(120);

/// What a Prometheus of the current version accepts.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let resources: Vec<String> = (0..RESOURCES).map(|it| format!("\"VJ{it:032x}\"")).collect();
    let profile = DEMO_PROFILE.lines().filter(|line| !line.starts_with("resources"));
    let budget = "budget = { rate = 300, burst = 20, concurrent = 8 }";
    let text = format!(
        "{}\n{budget}\nresources = [{}]\n",
        profile.collect::<Vec<_>>().join("\n"),
        resources.join(",")
    );
    let configuration = Configuration::new(text)?;
    let server = programs.serve_configured(&configuration, &cores.of_server(), cores)?;
    let admin = server.admin.as_deref().context("no admin listener")?;

    let start = Instant::now();
    while ends(&scrape(admin, "text/plain").await?) < RESOURCES {
        if start.elapsed() > ARRIVE {
            bail!("not every grant arrived within {ARRIVE:?}");
        }
        sleep(Duration::from_secs(1)).await;
    }
    for (accept, format) in [(ACCEPT, "OpenMetrics"), ("text/plain", "text")] {
        let (mut milliseconds, mut megabytes) = (Vec::new(), Vec::new());
        for _ in 0..size.starts {
            let start = Instant::now();
            let page = scrape(admin, accept).await?;
            milliseconds.push(start.elapsed().as_secs_f64() * 1e3);
            megabytes.push(page.len() as f64 / MEGABYTE);
        }
        report.series(format!("a scrape, {format}"), "ms", &milliseconds);
        report.series(format!("its page, {format}"), "MB", &megabytes);
        let name = format.to_lowercase();
        report.figure(format!("scrape_{name}_ms"), Goal::AtMost(100.0), &milliseconds);
        report.figure(format!("scrape_{name}_mb"), Goal::AtMost(4.0), &megabytes);
    }
    Ok(())
}

/// The response to a request for the page.
async fn scrape(admin: &str, accept: &str) -> Result<String> {
    let authority = admin.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(authority).await?;
    let request = format!(
        "GET /metrics HTTP/1.1\r\nhost: {authority}\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

/// The number of grants on the page.
fn ends(page: &str) -> usize {
    page.matches("\ngrantmint_grant_end_timestamp_seconds{").count()
}
