//! `grantmint serve`: the service.

use std::{
    env,
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
    provider::{self, Demo, KINDS, Served, Upstream},
    sandbox::{self, Endpoint, Sandbox},
    server::{BindError, descriptors},
    source::base_url::{BaseUrl, BaseUrlError},
    systemd::Systemd,
    telemetry::{LogFilter, LogFormat, RecentProblems, configure_log_filter, start_logging},
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

/// Run the service: with a configuration, with the sandbox, or both
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeCommand {
    /// Configuration file; see grantmint.toml for a sample
    #[arg(short, long, value_name = "FILE", env = "GRANTMINT_CONFIG")]
    config: Option<PathBuf>,
    /// Also start an emulated upstream and fetch from it; needs no account or setup
    #[arg(long)]
    sandbox: bool,
    /// TCP address for calls, instead of the configured one and in addition to any Unix socket; off
    /// loopback it requires TLS and callers, or the sandbox alone
    #[arg(long, value_name = "ADDRESS", env = "GRANTMINT_LISTEN")]
    listen: Option<Listen>,
    /// Address of the admin listener: read-only pages over plain HTTP
    #[arg(long, value_name = "ADDRESS", env = "GRANTMINT_ADMIN_LISTEN")]
    admin_listen: Option<Listen>,
    /// File of faults that the sandbox plays; see scenario.toml for a sample
    #[arg(long, value_name = "FILE", requires = "sandbox")]
    scenario: Option<PathBuf>,
    /// Fault that the sandbox starts with, such as status=503,times=3; repeatable. For the syntax
    /// see grantmint sandbox --help
    #[arg(long, value_name = "FAULT", requires = "sandbox", value_parser = fault)]
    fault: Vec<sandbox::Fault>,
    /// Log format; default: human on a terminal, else json
    #[arg(long, value_enum, env = "GRANTMINT_LOG_FORMAT")]
    log_format: Option<Format>,
    /// Log filter; default: [log] filter of the configuration, else info
    #[arg(long, value_name = "FILTER", env = "GRANTMINT_LOG")]
    log: Option<LogFilter>,
    /// Print the addresses as one line of JSON instead of the banner
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Readable text
    Human,
    /// One JSON object per line
    Json,
}

impl ServeCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        if self.config.is_none() && !self.sandbox {
            return Err(Failure::usage(
                "nothing to serve: use --config FILE, or --sandbox for an emulated upstream that \
                 needs no setup",
            ));
        }
        match self.serve().await? {
            Ended::Requested => Ok(Exit::Done),
            Ended::TaskEnded => Err(Failure::permanent("a task of the server ended unexpectedly")
                .next("see the log above for which one; restart the server")),
        }
    }

    async fn serve(self) -> Result<Ended, Failure> {
        let problems = RecentProblems::default();
        let log = start_logging(self.format(), self.log.as_ref(), problems.clone());
        let _log = log.map_err(failed)?;
        // Before anything slow: a signal may arrive at any time.
        let mut signals = Signals::install()?;
        forbid_core_dumps();
        if let Err(error) = descriptors::raise_limit() {
            tracing::warn!(%error, "the limit on open files cannot be raised");
        }
        let (app, sandbox) = tokio::select! {
            started = self.start() => started?,
            _ = signals.stop() => {
                tracing::info!("stopped");
                return Ok(Ended::Requested);
            }
        };
        let app = app.showing(problems);
        let server = app.addr().map(tracing::field::display);
        let socket = app.unix().map(tracing::field::display);
        tracing::info!(server, socket, admin = %app.admin_addr(), "listening");
        // An audit log on standard output has that stream to itself.
        let to = if app.audits_to_stdout() { Stream::Error } else { Stream::Output };
        output::announce(self.addresses(&app, sandbox.as_ref()), to);
        let systemd = Systemd::from_env(|name| env::var_os(name)).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot notify systemd");
            None
        });
        Ok(app.supervised_by(systemd).spawn().until(async || signals.request().await).await)
    }

    /// Reads the configuration, and binds the listeners.
    async fn start(&self) -> Result<(App, Option<Sandbox>), Failure> {
        let clock = Clock::system();
        // The file may be a pipe without a writer.
        let command = self.clone();
        let read = spawn_blocking(move || command.read());
        let (mut config, emulated) = read.await.map_err(failed)??;
        configure_log_filter(config.log_filter.as_ref());
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
        log_guarantees(&config);
        Ok((app, sandbox))
    }

    /// Reads the configuration, and that of the sandbox.
    fn read(&self) -> Result<(Config, Option<sandbox::Config>), Failure> {
        let config = self.configuration()?;
        if !self.sandbox {
            return Ok((config, None));
        }
        let upstreams = config.profiles.iter().filter_map(|profile| profile.provider.upstream());
        let endpoints: Vec<Arc<dyn Endpoint>> = upstreams.map(Upstream::endpoint).collect();
        if endpoints.is_empty() {
            return Err(Failure::usage("--sandbox emulates upstreams, but no profile has one"));
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

    /// The configuration of the file, or of the sandbox, with the flags applied.
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
            return Err(Failure::usage(
                "the call listener and the admin listener have the same address; change --listen, \
                 --admin-listen or the file",
            ));
        }
        Ok(config)
    }

    /// Checks an address. The sandbox alone may listen anywhere, since its keys are public.
    fn check_listen(&self, listen: Listen, config: &Config) -> Result<(), Failure> {
        if self.config.is_none() {
            if !listen.is_loopback() {
                tracing::warn!(
                    %listen,
                    "any client that reaches this address may call; use the sandbox for trials only"
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
            Failure::usage(format!("--listen {listen} {why}"))
                .next("add [server.tls] and [callers] to the configuration")
        })?;
        if access.plaintext {
            tracing::warn!(
                %listen,
                "TLS is terminated before this server; any client that reaches this address is the caller plaintext"
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

/// The arguments that commands need to reach the server.
fn server_arguments(app: &App) -> String {
    match (app.addr(), app.unix()) {
        (None, Some(unix)) => format!(" --server {unix}"),
        (None, None) => String::new(),
        // The certificate may not be valid for this address.
        (Some(listen), _) if app.has_tls() => {
            let port = listen.port();
            format!(" --server https://HOST:{port} --ca FILE --cert FILE --key FILE")
        }
        (Some(listen), _) if listen.port() == 50_051 => String::new(),
        (Some(listen), _) => format!(" --server http://{listen}"),
    }
}

/// Why the server cannot start, and what to do next.
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
    Failure::permanent(why.to_string())
}

/// Disables core dumps: keys and tokens are in this process's memory, and must not be written to
/// a file.
fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    let limited = setrlimit(Resource::Core, none);
    // A handler that receives core dumps through a pipe ignores the limit.
    #[cfg(target_os = "linux")]
    let limited = limited
        .and_then(|()| rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = limited {
        tracing::warn!(%error, "cannot disable core dumps");
    }
}

/// The demos that are served without a configuration file; the first is the default profile.
fn served_demos() -> Vec<Demo> {
    let mut demos = provider::demos();
    demos.retain(|demo| demo.served == Served::Yes);
    let first = demos.iter().position(Demo::has_upstream);
    demos.swap(0, first.unwrap_or(0));
    demos
}

/// The configuration of the demos' profiles, parsed as any other.
fn sandbox_configuration() -> Result<Config, Failure> {
    let demos = served_demos();
    let secret = |name: &str| {
        let of_demo = demos.iter().find_map(|demo| demo.variable(name));
        of_demo.or_else(|| {
            // Traces can also be tried without a file.
            name.starts_with("OTEL_").then(|| env::var(name).ok()).flatten()
        })
    };
    let text = provider::configuration(&demos);
    let config = Config::parse_in("the sandbox's profiles", &text, &secret, KINDS)?;
    // The demos' secrets are public, so warnings about them are dropped.
    Ok(Config { warnings: Vec::new(), ..config })
}

async fn start_sandbox(emulated: sandbox::Config, clock: &Clock) -> Result<Sandbox, Failure> {
    let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    let sandbox = Sandbox::bind(any.into(), emulated, clock.clone()).await;
    sandbox.map_err(|error| failed(format!("cannot start the sandbox: {error}")))
}

fn two_decimals(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// Logs what each profile guarantees, so that its defaults surprise no one.
fn log_guarantees(config: &Config) {
    for profile in &config.profiles {
        // None if it depends on the lifetime that the upstream grants.
        let shortest_validity_seconds =
            profile.shortest_validity().map(|least| least.as_secs_f64());
        let Some(grants) = profile.grants() else {
            tracing::info!(
                profile = %profile.name,
                shortest_validity_seconds,
                "minting with a key, without grants"
            );
            continue;
        };
        if let Supply::Forwarded(_) = profile.supply {
            tracing::warn!(
                profile = %profile.name,
                "one credential is shared by all callers of a resource"
            );
        }
        let policy = grants.policy;
        if policy.grant_ttl().is_none() {
            tracing::info!(
                profile = %profile.name,
                resources = grants.resources.len(),
                "refreshing grants; the schedule depends on the lifetime that the upstream grants"
            );
            continue;
        }
        tracing::info!(
            profile = %profile.name,
            resources = grants.resources.len(),
            refresh_after_seconds = policy.usual_point().map(|point| point.as_secs_f64()),
            shortest_validity_seconds,
            requests_per_minute_per_resource = policy.requests_per_minute().map(two_decimals),
            "refreshing grants"
        );
    }
}
