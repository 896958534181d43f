//! `grantmint sandbox`: only the emulated upstream.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::builder::PossibleValuesParser;
use grantmint::{
    clock::Clock,
    listen::Listen,
    provider::{self, Demo},
    sandbox::{Config, Endpoint, Fault, FaultError, MAX_CONCURRENT, Sandbox, scenario},
    telemetry::{LogFormat, RecentProblems, start_logging},
};
use serde_json::Value;
use tokio::task::spawn_blocking;

use crate::{
    exit::Exit,
    failure::Failure,
    output::{self, Stream},
    signals::Signals,
};

const AT_RUN_TIME: &str = "\
While it runs: PUT, POST and DELETE /sandbox/fault change the faults, PUT /sandbox/scenario plays
a file, GET /sandbox/counters and /sandbox/requests report the requests received. The command
prints examples of these, and a profile with its demo credential.";

/// Run only an emulated upstream
///
/// Serves an upstream's endpoint on loopback, with a public demo credential, until SIGINT or
/// SIGTERM. The default is Twilio Live's PlaybackGrant endpoint; --emulate selects another.
#[derive(clap::Args, Debug)]
#[command(after_long_help = AT_RUN_TIME)]
pub(crate) struct SandboxCommand {
    /// Address to listen on, loopback only; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8765")]
    listen: Listen,

    /// The upstream to emulate: twilio-live, or a preset of the kind forward
    #[arg(long, value_name = "NAME", value_parser = emulated_names())]
    emulate: Option<String>,

    /// File of faults by time or request number; see scenario.toml for a sample
    ///
    /// TOML with a [[fault]] table per fault, with the keys of --fault.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// A fault, such as status=503, status=429,retry-after=5 or hang,times=3; repeatable
    ///
    /// Keys separated by commas; a value that contains a comma is a JSON string.
    ///
    /// One effect: status=CODE (optionally with retry-after=TEXT or retry-after-date=DURATION, and
    /// body-text=TEXT), body=grant-null|grant-string|grant-missing|wrong-sid|
    /// wrong-streamer|wrong-account|duplicate|nested|truncated|cut|slow|huge|endless|gzip,
    /// for a preset also body=credential-missing|html|life-zero|same-credential,
    /// body-text=TEXT, hang, reset or shorter-life=DURATION.
    ///
    /// With an effect or alone: latency=DURATION delays the response, keep-alive=DURATION closes
    /// the connection after it was idle for that long.
    ///
    /// Scope: resource=RESOURCE. Time since the start: from=DURATION, until=DURATION. Request
    /// numbers (of the resource): requests=4 or 3-5 or 10-. Count: times=REQUESTS.
    ///
    /// A request gets the first active fault for its resource, else the first active fault for all
    /// resources. Faults given here precede those of --scenario.
    #[arg(long, value_name = "FAULT", value_parser = fault, verbatim_doc_comment)]
    fault: Vec<Fault>,

    /// Maximum concurrent requests; more are answered with 429
    #[arg(long, value_name = "N", default_value_t = MAX_CONCURRENT)]
    max_concurrent: usize,

    /// Print one JSON object instead of the banner: URLs and the demo credential
    #[arg(long)]
    json: bool,
}

impl SandboxCommand {
    /// Serves until a signal.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let failed = |why: String| Failure::permanent(why);
        let _log = start_logging(LogFormat::of_terminal(), None, RecentProblems::default())
            .map_err(|error| failed(error.to_string()))?;
        let mut signals = Signals::install()?;
        let (demo, endpoint) = demo(self.emulate.as_deref())?;
        let own = endpoint.bodies();
        let (given, scenario) = (self.fault, self.scenario);
        // The file may be a pipe without a writer.
        let read = spawn_blocking(move || faults(given, scenario.as_deref(), own));
        let faults = tokio::select! {
            read = read => read.map_err(|error| failed(error.to_string()))??,
            _ = signals.stop() => return Ok(Exit::Done),
        };
        let endpoints = vec![endpoint];
        let max_concurrent = self.max_concurrent;
        let config = Config { endpoints, max_concurrent, faults, seed: seed()? };
        let sandbox =
            Sandbox::bind(self.listen, config, Clock::system()).await.map_err(|error| {
                failed(format!("cannot listen on {}: {error}", self.listen))
                    .next("choose another address with --listen; port 0 takes any free one")
            })?;
        let banner = if self.json { as_json(&sandbox, &demo) } else { banner(&sandbox, &demo) };
        output::announce(banner, Stream::Output);
        signals.stop().await;
        sandbox.stop();
        Ok(Exit::Done)
    }
}

/// The names of the emulated upstreams.
fn emulated_names() -> PossibleValuesParser {
    let mut demos = provider::demos();
    demos.retain(Demo::has_upstream);
    demos.into_iter().map(|demo| demo.name).collect::<Vec<_>>().into()
}

/// The demo profile of this name, or the first one, and its upstream.
fn demo(name: Option<&str>) -> Result<(Demo, Arc<dyn Endpoint>), Failure> {
    let demo = match name {
        Some(name) => provider::demos().into_iter().find(|demo| demo.name == name),
        None => provider::demo(),
    };
    let endpoint = demo.as_ref().and_then(Demo::endpoint);
    demo.zip(endpoint).ok_or_else(|| Failure::permanent("no kind has this demo".to_owned()))
}

/// Parses a fault of any emulated upstream.
pub(crate) fn fault(text: &str) -> Result<Fault, FaultError> {
    Fault::from_words(text, &provider::bodies())
}

/// The seed of a run's random values, different in every run.
pub(crate) fn seed() -> Result<u64, Failure> {
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed)
        .map_err(|_| Failure::permanent("the system returned no random bytes"))?;
    Ok(u64::from_ne_bytes(seed))
}

/// The given faults, then those of the scenario, for endpoints with these bodies of their own.
pub(crate) fn faults(
    mut given: Vec<Fault>,
    scenario: Option<&Path>,
    own: &[&str],
) -> Result<Vec<Fault>, Failure> {
    if let Some(path) = scenario {
        let next = "see the sample scenario.toml or grantmint sandbox --help for every key";
        let wrong = |problems| Failure::in_file("scenario", next, &problems);
        given.extend(scenario::load(path, own).map_err(wrong)?);
    }
    Ok(given)
}

/// The URLs and the demo's keys as JSON.
fn as_json(sandbox: &Sandbox, demo: &Demo) -> String {
    let mut values = demo.values();
    values.insert("upstream".to_owned(), sandbox.base_url().to_string().into());
    values.insert("control".to_owned(), sandbox.control_url().into());
    Value::from(values).to_string()
}

fn banner(sandbox: &Sandbox, demo: &Demo) -> String {
    let base = sandbox.base_url().to_string();
    let base = base.trim_end_matches('/');
    let own = sandbox.control_url();
    let (name, profile) = (demo.profile, demo.lines().join("\n  "));
    let secret = demo.secret.as_ref().map_or_else(String::new, |it| {
        format!(
            "\nSet the demo's secret for the server; it is public and has no other use:\n\
             \n  export {}={}\n",
            it.variable, it.value
        )
    });
    format!(
        "emulated upstream: {base}

Use it in a profile:

  [profiles.{name}]
  {profile}
  upstream = \"{base}\"
{secret}
Change faults, and see the requests received:

  curl -X PUT -d status=503,times=3 {own}/fault
  curl -X PUT --data-binary @scenario.toml {own}/scenario
  curl -X DELETE {own}/fault
  curl {own}/requests
  curl {own}/counters
"
    )
}
