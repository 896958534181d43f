//! The metrics page of a process with many resources.

use anyhow::Result;
use tokio::{io::AsyncReadExt, time::Instant};

use super::{
    Programs, Size,
    alone::MEGABYTE,
    many::{self, RESOURCES},
};
use crate::{
    process::Cores,
    report::{Goal, Report},
};

/// What a Prometheus of the current version accepts.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

pub(super) async fn run(
    programs: &Programs,
    cores: &Cores,
    size: Size,
    report: &mut Report,
) -> Result<()> {
    let (_server, admin) = many::serve(programs, cores, many::OF_A_MINUTE)?;
    let arrived = async || Ok(ends(&scrape(&admin, "text/plain").await?));
    many::await_grants(RESOURCES, arrived).await?;
    for (accept, format) in [(ACCEPT, "OpenMetrics"), ("text/plain", "text")] {
        let (mut milliseconds, mut megabytes) = (Vec::new(), Vec::new());
        for _ in 0..size.starts {
            let start = Instant::now();
            let page = scrape(&admin, accept).await?;
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
    let mut stream = many::get(admin, "/metrics", &format!("accept: {accept}\r\n")).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    Ok(response)
}

/// The number of grants on the page.
fn ends(page: &str) -> usize {
    page.matches("\ngrantmint_grant_end_timestamp_seconds{").count()
}
