//! A server with 10,000 resources, and requests to its admin listener.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, sleep},
};

use super::Programs;
use crate::{
    configuration::Configuration,
    process::{Cores, Server},
};

/// The resources of one profile.
pub(super) const RESOURCES: usize = 10_000;

/// The time in which all grants arrive.
const ARRIVE: Duration = Duration::from_secs(120);

/// The budget of their account.
const BUDGET: &str = "{ rate = 1000, burst = 1000, concurrent = 64 }";

/// A profile whose grants live for an hour, so that none is refreshed during a measurement.
pub(super) const OF_AN_HOUR: &str = r#"
[profiles.many]
kind = "forward"
preset = "deepgram"
api_key_env = "API_KEY"
shareable = true
grant_ttl = "1h"
"#;

/// A profile whose grants live for a minute, so that about 210 are refreshed every second.
pub(super) const OF_A_MINUTE: &str = r#"
[profiles.many]
kind = "twilio-live"
account_sid = "AC0123456789abcdef0123456789abcdef"
api_key_sid = "SK0123456789abcdef0123456789abcdef"
api_key_secret_env = "API_KEY"
"#;

/// Starts a server with this profile, and returns it with the address of its admin listener.
pub(super) fn serve(programs: &Programs, cores: &Cores, profile: &str) -> Result<(Server, String)> {
    let resources: Vec<String> = (0..RESOURCES).map(|it| format!("\"VJ{it:032x}\"")).collect();
    let resources = resources.join(",");
    let text = format!("{profile}budget = {BUDGET}\nresources = [{resources}]\n");
    let configuration = Configuration::new(text)?;
    let server = programs.serve_configured(&configuration, &cores.of_server(), cores)?;
    let admin = server.admin.clone().context("no admin listener")?;
    Ok((server, admin))
}

/// Waits until so many grants have arrived as `arrived` counts.
pub(super) async fn await_grants(
    least: usize,
    mut arrived: impl AsyncFnMut() -> Result<usize>,
) -> Result<()> {
    let start = Instant::now();
    while arrived().await? < least {
        if start.elapsed() > ARRIVE {
            bail!("not every grant arrived within {ARRIVE:?}");
        }
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Sends a GET request with these header lines, each with its line ending, and returns the connection.
pub(super) async fn get(admin: &str, path: &str, headers: &str) -> Result<TcpStream> {
    let authority = admin.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(authority).await?;
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n{headers}connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}
