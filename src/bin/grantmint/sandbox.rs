//! `grantmint sandbox`: the emulated upstream alone.

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
    telemetry::{LogFormat, start_logging},
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
While it runs, at its address: PUT, POST and DELETE /sandbox/fault switch faults, PUT
/sandbox/scenario plays a file, GET /sandbox/counters and /sandbox/requests tell what came in.
It prints the commands for that, and a profile with its demo credential.";

/// Run an emulated upstream alone
///
/// Serves an upstream's endpoint on loopback, under a public demo credential, until SIGINT or
/// SIGTERM: Twilio Live's PlaybackGrant endpoint unless --emulate says another.
#[derive(clap::Args, Debug)]
#[command(after_long_help = AT_RUN_TIME)]
pub(crate) struct SandboxCommand {
    /// Where to listen; loopback only, port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8765")]
    listen: Listen,

    /// Which upstream: twilio-live, or a preset of the kind forward
    #[arg(long, value_name = "NAME", value_parser = emulated_names())]
    emulate: Option<String>,

    /// A file of faults, by time or request number; see scenario.toml for a sample
    ///
    /// TOML, each fault under [[fault]], in the keys of --fault.
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// What goes wrong, such as status=503, status=429,retry-after=5 or hang,times=3; repeatable
    ///
    /// Comma-joined words; a value with a comma is written as a JSON string.
    ///
    /// One effect: status=CODE (with retry-after=TEXT or retry-after-date=DURATION, and
    /// body-text=TEXT, if wanted), body=grant-null|grant-string|grant-missing|wrong-sid|
    /// wrong-streamer|wrong-account|duplicate|nested|truncated|cut|slow|huge|endless|gzip,
    /// of a preset also body=credential-missing|html|life-zero|same-credential,
    /// body-text=TEXT, hang, reset or shorter-life=DURATION.
    ///
    /// With it or alone: latency=DURATION holds the answer back, keep-alive=DURATION closes the
    /// connection when it was idle that long.
    ///
    /// For what: resource=RESOURCE. When, counted from the start: from=DURATION, until=DURATION,
    /// requests=4 or 3-5 or 10- (among those for the resource), times=REQUESTS.
    ///
    /// Of several, a request meets the first that is for its resource and strikes then, else
    /// the first that is for all; these come before those of --scenario.
    #[arg(long, value_name = "FAULT", value_parser = fault, verbatim_doc_comment)]
    fault: Vec<Fault>,

    /// Requests at work at once, beyond which 429 is answered
    #[arg(long, value_name = "N", default_value_t = MAX_CONCURRENT)]
    max_concurrent: usize,

    /// Write one JSON object instead of the greeting: URLs and the demo's credential
    #[arg(long)]
    json: bool,
}

impl SandboxCommand {
    /// Serves until a signal.
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let failed = |why: String| Failure::for_good(why);
        let _log = start_logging(LogFormat::of_terminal(), "info")
            .map_err(|error| failed(error.to_string()))?;
        let mut signals = Signals::take()?;
        let (demo, endpoint) = demo(self.emulate.as_deref())?;
        let own = endpoint.bodies();
        let (given, scenario) = (self.fault, self.scenario);
        // A file may be a pipe that nobody writes to.
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
        let greeting = if self.json { as_json(&sandbox, &demo) } else { greeting(&sandbox, &demo) };
        output::announce(greeting, Stream::Output);
        signals.stop().await;
        sandbox.stop();
        Ok(Exit::Done)
    }
}

/// The names of what can be emulated.
fn emulated_names() -> PossibleValuesParser {
    let mut demos = provider::demos();
    demos.retain(|demo| demo.endpoint.is_some());
    demos.into_iter().map(|demo| demo.name).collect::<Vec<_>>().into()
}

/// The profile that the sandbox knows, and its upstream: of this name, or the first.
fn demo(name: Option<&str>) -> Result<(Demo, Arc<dyn Endpoint>), Failure> {
    let demo = match name {
        Some(name) => provider::demos().into_iter().find(|demo| demo.name == name),
        None => provider::demo(),
    };
    let endpoint = demo.as_ref().and_then(|demo| demo.endpoint.clone());
    demo.zip(endpoint).ok_or_else(|| Failure::for_good("no kind has such a demo".to_owned()))
}

/// Takes a fault that an emulated upstream of some kind can do.
pub(crate) fn fault(text: &str) -> Result<Fault, FaultError> {
    Fault::from_words(text, &provider::bodies())
}

/// What a run's random values start from: no two runs are the same.
pub(crate) fn seed() -> Result<u64, Failure> {
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed)
        .map_err(|_| Failure::for_good("the system returned no random bytes"))?;
    Ok(u64::from_ne_bytes(seed))
}

/// The faults that are given, then those of the scenario, for endpoints that have these bodies
/// of their own.
pub(crate) fn faults(
    mut given: Vec<Fault>,
    scenario: Option<&Path>,
    own: &[&str],
) -> Result<Vec<Fault>, Failure> {
    if let Some(path) = scenario {
        let next = "the sample scenario.toml has every key, as has grantmint sandbox --help";
        let wrong = |problems| Failure::in_file("scenario", next, &problems);
        given.extend(scenario::load(path, own).map_err(wrong)?);
    }
    Ok(given)
}

/// Where it is and what it takes, for machines.
fn as_json(sandbox: &Sandbox, demo: &Demo) -> String {
    let mut values = demo.values();
    values.insert("upstream".to_owned(), sandbox.base_url().to_string().into());
    values.insert("control".to_owned(), sandbox.control_url().into());
    Value::from(values).to_string()
}

fn greeting(sandbox: &Sandbox, demo: &Demo) -> String {
    let base = sandbox.base_url().to_string();
    let base = base.trim_end_matches('/');
    let own = sandbox.control_url();
    let (name, profile) = (demo.profile, demo.lines().join("\n  "));
    let secret = demo.secret.as_ref().map_or_else(String::new, |it| {
        format!(
            "\nGive the server the demo's secret, which is public and good for nothing else:\n\
             \n  export {}={}\n",
            it.variable, it.value
        )
    });
    format!(
        "An emulated upstream is at {base}

Point a profile at it:

  [profiles.{name}]
  {profile}
  upstream = \"{base}\"
{secret}
Switch faults, and read what came in:

  curl -X PUT -d status=503,times=3 {own}/fault
  curl -X PUT --data-binary @scenario.toml {own}/scenario
  curl -X DELETE {own}/fault
  curl {own}/requests
  curl {own}/counters
"
    )
}
