//! `grantmint serve`: the service.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use clap::{Args, ValueEnum};
use grantmint::{
    app::{App, Ended, StartError},
    clock::Clock,
    config::{
        Config, Supply,
        access::{Access, may_listen},
    },
    listen::Listen,
    provider::{self, Demo, Served, Upstream},
    sandbox::{self, Endpoint, Sandbox},
    server::{BindError, descriptors},
    source::base_url::{BaseUrl, BaseUrlError},
    telemetry::{LogFormat, log_filter, start_logging},
};
#[cfg(target_os = "linux")]
use rustix::process::DumpableBehavior;
use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::task::spawn_blocking;

use crate::{
    exit::Exit,
    failure::Failure,
    output::{self, Stream},
    sandbox::{fault, faults, seed},
    signals::Signals,
};

/// Runs the service: with a configuration, against the sandbox, or both.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeCommand {
    /// The configuration file; see grantmint.toml for a sample
    #[arg(short, long, value_name = "FILE", env = "GRANTMINT_CONFIG")]
    config: Option<PathBuf>,
    /// Start an emulated upstream too, and fetch from it: needs no account and no set-up
    #[arg(long)]
    sandbox: bool,
    /// Listen for calls over TCP here instead, beside any Unix socket; off loopback with TLS and
    /// callers, or the sandbox alone
    #[arg(long, value_name = "ADDRESS", env = "GRANTMINT_LISTEN")]
    listen: Option<Listen>,
    /// Listen for the operator here instead: plain HTTP, which only tells
    #[arg(long, value_name = "ADDRESS", env = "GRANTMINT_ADMIN_LISTEN")]
    admin_listen: Option<Listen>,
    /// A scenario that the sandbox plays: a file of faults; see scenario.toml for a sample
    #[arg(long, value_name = "FILE", requires = "sandbox")]
    scenario: Option<PathBuf>,
    /// A fault that the sandbox starts with, such as status=503,times=3; repeatable. The words
    /// of a fault: grantmint sandbox --help
    #[arg(long, value_name = "FAULT", requires = "sandbox", value_parser = fault)]
    fault: Vec<sandbox::Fault>,
    /// How log lines are written; left out: for people on a terminal, else JSON
    #[arg(long, value_enum, env = "GRANTMINT_LOG_FORMAT")]
    log_format: Option<Format>,
    /// What is logged
    #[arg(long, value_name = "FILTER", env = "GRANTMINT_LOG", default_value = "info", value_parser = log_filter)]
    log: String,
    /// Write the addresses as one line of JSON instead of the banner
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For people.
    Human,
    /// A JSON object a line.
    Json,
}

impl ServeCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        if self.config.is_none() && !self.sandbox {
            return Err(Failure::misuse(
                "say what to serve: --config FILE for the real thing, or --sandbox for an \
                 emulated upstream that needs no set-up",
            ));
        }
        match self.serve().await? {
            Ended::Told => Ok(Exit::Done),
            Ended::TaskEnded => Err(Failure::for_good("a task of the server ended by itself")
                .next("the log above says which; start the server again")),
        }
    }

    async fn serve(self) -> Result<Ended, Failure> {
        let _log = start_logging(self.format(), &self.log).map_err(failed)?;
        // Before anything can take long: who starts it may send one at once.
        let mut signals = Signals::take()?;
        forbid_core_dumps();
        if let Err(error) = descriptors::raise_limit() {
            tracing::warn!(%error, "the limit on open files cannot be raised");
        }
        let (app, sandbox) = tokio::select! {
            started = self.start() => started?,
            _ = signals.stop() => {
                tracing::info!("stopped");
                return Ok(Ended::Told);
            }
        };
        let server = app.addr().map(tracing::field::display);
        let socket = app.unix().map(tracing::field::display);
        tracing::info!(server, socket, admin = %app.admin_addr(), "listening");
        // Standard output is the audit log's alone, where that goes there.
        let to = if app.audits_to_stdout() { Stream::Error } else { Stream::Output };
        output::announce(self.addresses(&app, sandbox.as_ref()), to);
        Ok(app.spawn().until(async || signals.ask().await).await)
    }

    /// Reads what there is to read, and binds.
    async fn start(&self) -> Result<(App, Option<Sandbox>), Failure> {
        let clock = Clock::system();
        // A file may be a pipe that nobody writes to.
        let command = self.clone();
        let read = spawn_blocking(move || command.read());
        let (mut config, emulated) = read.await.map_err(failed)??;
        let sandbox = match emulated {
            Some(emulated) => Some(start_sandbox(emulated, &clock).await?),
            None => None,
        };
        if let Some(sandbox) = &sandbox {
            let upstream = sandbox.base_url().to_string().parse();
            let upstream: BaseUrl =
                upstream.map_err(|why: BaseUrlError| failed(format!("the sandbox's URL {why}")))?;
            config.point_at(upstream);
        }

        let app = App::build(&config, clock).await.map_err(|error| explain(&error))?;
        tell_promises(&config);
        Ok((app, sandbox))
    }

    /// The configuration, and that of the sandbox.
    fn read(&self) -> Result<(Config, Option<sandbox::Config>), Failure> {
        let config = self.configuration()?;
        if !self.sandbox {
            return Ok((config, None));
        }
        let upstreams = config.profiles.iter().filter_map(|profile| profile.provider.upstream());
        let endpoints: Vec<Arc<dyn Endpoint>> = upstreams.map(Upstream::endpoint).collect();
        if endpoints.is_empty() {
            return Err(Failure::misuse("--sandbox emulates upstreams, and no profile has one"));
        }
        let own = sandbox::bodies(&endpoints);
        let faults = faults(self.fault.clone(), self.scenario.as_deref(), &own)?;
        let emulated = sandbox::Config { faults, seed: seed()?, ..sandbox::Config::new(endpoints) };
        Ok((config, Some(emulated)))
    }

    fn format(&self) -> LogFormat {
        match self.log_format {
            Some(Format::Human) => LogFormat::Human,
            Some(Format::Json) => LogFormat::Json,
            None => LogFormat::of_terminal(),
        }
    }

    /// The file's, or the sandbox's own; with the flags on top.
    fn configuration(&self) -> Result<Config, Failure> {
        let mut config = match &self.config {
            Some(path) => Config::load(path)?,
            None => sandbox_configuration()?,
        };
        if let Some(listen) = self.listen {
            config.server.listen = config.server.listen.with_tcp(listen);
        }
        if let Some(listen) = self.admin_listen {
            config.admin.listen = listen;
        }
        let listen = config.server.listen.tcp();
        if let Some(listen) = listen {
            self.check_listen(listen, &config)?;
        }
        if listen.is_some_and(|listen| config.admin.listen.overlaps(listen)) {
            return Err(Failure::misuse(
                "--listen and --admin-listen, or what the file says in their place, are one address",
            ));
        }
        Ok(config)
    }

    /// The sandbox alone may listen anywhere: its keys are public.
    fn check_listen(&self, listen: Listen, config: &Config) -> Result<(), Failure> {
        if self.config.is_none() {
            if !listen.is_loopback() {
                tracing::warn!(
                    %listen,
                    "anybody who reaches this address may call: the sandbox is for trying out"
                );
            }
            return Ok(());
        }
        let access = Access {
            has_tls: config.tls.is_some(),
            has_callers: config.has_callers(),
            plaintext: config.server.plaintext,
        };
        may_listen(Some(listen), &access).map_err(|why| {
            Failure::misuse(format!("--listen {listen} {why}"))
                .next("write [server.tls] and [callers] into the configuration")
        })?;
        if access.plaintext {
            tracing::warn!(
                %listen,
                "TLS ends before this server: who reaches this address is the caller plaintext"
            );
        }
        Ok(())
    }

    fn addresses(&self, app: &App, sandbox: Option<&Sandbox>) -> String {
        let admin = app.admin_addr();
        let scheme = if app.has_tls() { "https" } else { "http" };
        let tcp = app.addr().map(|listen| format!("{scheme}://{listen}"));
        let unix = app.unix().map(ToString::to_string);
        let sandbox = sandbox.map(|sandbox| sandbox.base_url().to_string());
        if self.json {
            return serde_json::json!({
                "server": tcp.as_ref().or(unix.as_ref()),
                "unix": unix,
                "admin": format!("http://{admin}"),
                "sandbox": sandbox,
            })
            .to_string();
        }
        let listen = app.addr().map(|listen| listen.to_string());
        let places: Vec<_> = listen.into_iter().chain(unix).collect();
        let mut lines = vec![format!(
            "grantmint serves gRPC on {}, health and metrics on http://{admin}",
            places.join(" and ")
        )];
        lines.extend(sandbox.map(|url| format!("the sandbox emulates the upstream on {url}")));
        lines.push("in another shell:".to_owned());
        let server = server_arguments(app);
        let mut commands = ["mint alice", "bulk --count 100000 -o tokens.txt", "grants --watch"]
            .map(str::to_owned)
            .to_vec();
        if self.config.is_none() {
            commands.extend(served_demos().iter().skip(1).map(|demo| {
                let resource = if demo.has_upstream() { "" } else { " --resource lobby" };
                format!("mint alice --profile {}{resource}", demo.profile)
            }));
        }
        lines.extend(commands.into_iter().map(|command| format!("  grantmint {command}{server}")));
        lines.join("\n")
    }
}

/// What commands need to reach the server.
fn server_arguments(app: &App) -> String {
    match (app.addr(), app.unix()) {
        (None, Some(unix)) => format!(" --server {unix}"),
        (None, None) => String::new(),
        // The certificate's name is not known to be this address.
        (Some(listen), _) if app.has_tls() => {
            let port = listen.port();
            format!(" --server https://HOST:{port} --ca FILE --cert FILE --key FILE")
        }
        (Some(listen), _) if listen.port() == 50_051 => String::new(),
        (Some(listen), _) => format!(" --server http://{listen}"),
    }
}

/// Why it does not start, and what to do next.
fn explain(error: &StartError) -> Failure {
    let failure = failed(error);
    match error {
        StartError::Bind(BindError::Unix { error, .. }) => failure.next(error.next()),
        StartError::Bind(BindError::Tcp { .. }) | StartError::BindAdmin { .. } => {
            failure.next("choose another address with --listen or --admin-listen")
        }
        _ => failure,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn failed(why: impl ToString) -> Failure {
    Failure::for_good(why.to_string())
}

/// Keys and tokens are in this process's memory, and must not come to lie in a file.
fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    // A handler that cores are piped to does not mind the limit.
    #[cfg(target_os = "linux")]
    let limited = limited
        .and_then(|()| rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = limited {
        tracing::warn!(%error, "core dumps cannot be switched off");
    }
}

/// The demos that are served where nobody configured anything, that of calls without a profile
/// first.
fn served_demos() -> Vec<Demo> {
    let mut demos = provider::demos();
    demos.retain(|demo| demo.served == Served::Yes);
    let first = demos.iter().position(Demo::has_upstream);
    demos.swap(0, first.unwrap_or(0));
    demos
}

/// The demos' profiles against the sandbox, through the same door as any other.
fn sandbox_configuration() -> Result<Config, Failure> {
    let demos = served_demos();
    let secret = |name: &str| demos.iter().find_map(|demo| demo.variable(name));
    let text = provider::configuration(&demos);
    let config = Config::parse_with("the sandbox's profiles", &text, &secret)?;
    // Its secrets are public.
    Ok(Config { remarks: Vec::new(), ..config })
}

async fn start_sandbox(emulated: sandbox::Config, clock: &Clock) -> Result<Sandbox, Failure> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let sandbox = Sandbox::bind(any.into(), emulated, clock.clone()).await;
    sandbox.map_err(|error| failed(format!("cannot start the sandbox: {error}")))
}

/// What each profile promises, so that nobody is surprised by the default.
fn tell_promises(config: &Config) {
    for profile in &config.profiles {
        // What depends on the life that the upstream grants is left out.
        let worst_hand_out_seconds = profile.worst_hand_out().map(|least| least.as_secs_f64());
        let Some(grants) = profile.grants() else {
            tracing::info!(
                profile = %profile.name,
                worst_hand_out_seconds,
                "minting with a key, without grants"
            );
            continue;
        };
        if let Supply::Forwarded(_) = profile.supply {
            tracing::warn!(
                profile = %profile.name,
                "one credential is shared: all callers of a resource get the same"
            );
        }
        let policy = grants.policy;
        if policy.grant_ttl().is_none() {
            tracing::info!(
                profile = %profile.name,
                resources = grants.resources.len(),
                "keeping grants fresh; when depends on the life that the upstream grants"
            );
            continue;
        }
        tracing::info!(
            profile = %profile.name,
            resources = grants.resources.len(),
            refresh_after_seconds = policy.usual_point().map(|point| point.as_secs_f64()),
            worst_hand_out_seconds,
            calls_a_minute_each = policy.calls_a_minute().map(|calls| format!("{calls:.2}")),
            "keeping grants fresh"
        );
    }
}
