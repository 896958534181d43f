//! The measurements, in their order.

mod alone;
mod audit;
mod background;
mod bearer;
mod calls;
mod forward;
mod image;
pub(crate) mod instructions;
mod kinds;
mod latency;
mod livekit;
mod many;
mod page;
mod peers;
mod pressure;
mod rounds;
mod scrape;
mod signing;
mod tls;
mod traces;
mod unix;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use clap::ValueEnum;
use grantmint::rpc::proto::{MintTokenResponse, MintTokensResponse};
use prost::Message;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    baseline::Baseline,
    configuration::Configuration,
    load::{self, Connection},
    process::{Cores, Server},
    report::Report,
};

/// The duration of a run.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    rounds: usize,
    starts: usize,
    /// The time of each server's load per round.
    unary: Duration,
    /// The same for a peer, and its number of rounds.
    peer: Duration,
    peer_rounds: usize,
    /// Tokens of a bulk, and of one that `jsonwebtoken` signs.
    bulk: u32,
    signed: u32,
    /// Live grants in one process.
    grants: usize,
    /// The same when instructions are counted, which takes fifty times as long.
    counted_grants: u32,
}

/// For `make bench-quick`.
pub(crate) const QUICK: Size = Size {
    rounds: 5,
    starts: 5,
    unary: Duration::from_millis(400),
    peer: Duration::from_millis(150),
    peer_rounds: 3,
    bulk: 300_000,
    signed: 90_000,
    grants: 20_000,
    counted_grants: 100,
};

/// For `make bench`.
pub(crate) const FULL: Size = Size {
    rounds: 15,
    starts: 11,
    unary: Duration::from_millis(1_500),
    peer: Duration::from_secs(1),
    peer_rounds: 7,
    bulk: 1_000_000,
    signed: 300_000,
    grants: 100_000,
    counted_grants: 10_000,
};

/// The sandbox's own profile.
const DEMO_PROFILE: &str = r#"
[profiles.demo]
kind = "twilio-live"
account_sid = "AC0123456789abcdef0123456789abcdef"
api_key_sid = "SK0123456789abcdef0123456789abcdef"
api_key_secret_env = "API_KEY"
resources = ["VJ0123456789abcdef0123456789abcdef"]
"#;

/// The executables.
pub(crate) struct Programs {
    pub(crate) grantmint: PathBuf,
    /// The static one, which the image has.
    pub(crate) image: Option<PathBuf>,
    pub(crate) itself: PathBuf,
}

impl Programs {
    /// The service with its sandbox, as shipped.
    fn serve(&self, on: &Cores, all: &Cores) -> Result<Server> {
        Server::start(self.service(), "", on, all)
    }

    /// The same with this configuration; all its upstreams are the sandbox.
    fn serve_configured(
        &self,
        configuration: &Configuration,
        on: &Cores,
        all: &Cores,
    ) -> Result<Server> {
        let mut command = self.service();
        command.arg("--config=/dev/stdin").envs(&configuration.variables);
        Server::start(command, &configuration.text, on, all)
    }

    /// The service on the servers' core with the demo's profile, preceded by these tables.
    fn serve_demo(&self, tables: &str, cores: &Cores) -> Result<Server> {
        let configuration = Configuration::new(format!("{tables}{DEMO_PROFILE}"))?;
        self.serve_configured(&configuration, &cores.of_server(), cores)
    }

    fn service(&self) -> Command {
        serving(Command::new(&self.grantmint))
    }

    fn baseline(&self, baseline: &Baseline, on: &Cores, all: &Cores) -> Result<Server> {
        let mut command = Command::new(&self.itself);
        command.arg("--baseline");
        Server::start(command, &serde_json::to_string(baseline)?, on, all)
    }
}

/// Has this command serve against its sandbox.
fn serving(mut command: Command) -> Command {
    let any = "127.0.0.1:0";
    command.args(["serve", "--sandbox", "--json", "--log=warn"]);
    command.args(["--listen", any, "--admin-listen", any]);
    command
}

/// What is measured together.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Part {
    /// Time from the start to the first token
    Start,
    /// Resident memory
    Memory,
    /// A mint with many live grants
    Grants,
    /// The event stream of the status page
    Page,
    /// The metrics page of many resources
    Scrape,
    /// Latency while grants are replaced, and next to a bulk
    Latency,
    /// Signing, single calls and bulk compared with the baselines
    Rounds,
    /// Single calls compared with servers as teams would write them
    Peers,
    /// Tokens made with a key alone
    Livekit,
    /// Single calls for a shared credential
    Forward,
    /// A server with a profile of each kind
    Kinds,
    /// Calls and bulk over TLS, also of known callers
    Tls,
    /// Calls with a bearer token
    Bearer,
    /// Calls and bulk over a Unix socket
    Unix,
    /// Calls, series and lists with an audit log
    Audit,
    /// Calls with traces exported
    Traces,
    /// Slow signatures, and shared tokens
    Signing,
    /// The image: its size, its start, and what a static binary costs
    Image,
    /// A known caller next to greedy and hostile ones, and ten times the load
    Load,
}

impl Part {
    /// Measures this part.
    pub(crate) async fn measure(
        self,
        programs: &Programs,
        cores: &Cores,
        size: Size,
        report: &mut Report,
    ) -> Result<()> {
        match self {
            Self::Start => alone::start(programs, cores, size, report).await,
            Self::Memory => alone::memory(programs, cores, report).await,
            Self::Grants => {
                alone::many_grants(programs, cores, size, report).await?;
                instructions::run(programs, cores, size, report).await
            }
            Self::Page => page::run(programs, cores, size, report).await,
            Self::Scrape => scrape::run(programs, cores, size, report).await,
            Self::Latency => latency::run(programs, cores, size, report).await,
            Self::Rounds => rounds::run(programs, cores, size, report).await,
            Self::Peers => peers::run(programs, cores, size, report).await,
            Self::Livekit => livekit::run(programs, size, report),
            Self::Forward => forward::run(programs, cores, size, report).await,
            Self::Kinds => kinds::run(programs, cores, size, report).await,
            Self::Tls => tls::run(programs, cores, size, report).await,
            Self::Bearer => bearer::run(programs, cores, size, report).await,
            Self::Unix => unix::run(programs, cores, size, report).await,
            Self::Audit => audit::run(programs, cores, size, report).await,
            Self::Traces => traces::run(programs, cores, size, report).await,
            Self::Signing => signing::run(programs, cores, size, report).await,
            Self::Image => image::run(programs, cores, size, report).await,
            Self::Load => pressure::run(programs, cores, size, report).await,
        }
    }
}

/// The sizes of the service's responses, for the baselines.
struct Sample {
    /// Bytes of a `MintToken` response.
    answer: usize,
    /// Bytes and tokens of a `MintTokens` chunk.
    chunk: usize,
    tokens: usize,
    grant: Box<RawValue>,
}

impl Sample {
    async fn of(server: &Server) -> Result<Self> {
        let answer = Connection::open(server.addr).await?.mint().await?.split_off(5);
        let chunk = load::first_chunk(server.addr).await?;
        let token = MintTokenResponse::decode(answer.clone())?.token;
        Ok(Self {
            answer: answer.len(),
            chunk: chunk.len(),
            tokens: MintTokensResponse::decode(Bytes::clone(&chunk))?.tokens.len(),
            grant: grant_of(&token)?,
        })
    }

    /// A stock server with responses of the same size.
    fn stock(&self) -> Baseline {
        let Self { answer, chunk, tokens, .. } = *self;
        Baseline::Stock { answer, chunk, tokens }
    }
}

#[derive(Deserialize)]
struct Payload {
    grants: Grants,
}

#[derive(Deserialize)]
struct Grants {
    player: Box<RawValue>,
}

fn grant_of(token: &str) -> Result<Box<RawValue>> {
    let payload = token.split('.').nth(1).context("no token")?;
    let payload: Payload = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?;
    Ok(payload.grants.player)
}

/// A directory in memory, if there is one.
fn memory_dir() -> PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.to_owned() } else { std::env::temp_dir() }
}
