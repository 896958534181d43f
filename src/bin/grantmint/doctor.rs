//! `grantmint doctor`: tries everything that a configuration names, and reports what to fix.

mod audit;
mod checks;
mod configuration;
mod files;
mod fix;
mod issuers;
mod listeners;
mod machine;
mod profiles;
mod progress;
mod report;
mod row;
mod tls;
mod traces;

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use grantmint::{clock::Clock, config::Config};
use tokio::task::spawn_blocking;

use self::report::Report;
use crate::{
    exit::Exit,
    failure::Failure,
    output::{self, MessageFormat},
};

/// Try everything that the configuration names, and report what to fix
///
/// Checks run in parallel: files, keys, certificates, clock, names, proxy, one grant and one token
/// per profile, issuers, listen addresses. Requests one grant per profile with an upstream, within
/// the account's budget. Prints no secret, token or grant.
///
/// Exits with 0 if nothing failed, even with warnings; with 3 if every failure may be temporary;
/// otherwise with 1.
#[derive(Debug, Args)]
pub(crate) struct DoctorCommand {
    /// Configuration file
    #[arg(long, value_name = "FILE", env = "GRANTMINT_CONFIG", default_value = "grantmint.toml")]
    config: PathBuf,

    /// Check only these profiles
    #[arg(long = "profile", value_name = "NAME", num_args = 1..)]
    profiles: Vec<String>,

    /// Send nothing over the network: skip upstreams, issuers, the collector of traces and the
    /// Workload API
    #[arg(long)]
    offline: bool,

    /// Print one JSON object per check
    #[arg(long)]
    json: bool,
}

/// What the checks read.
struct Context {
    /// The configuration, with the selected profiles only.
    config: Config,
    clock: Clock,
}

impl DoctorCommand {
    pub(crate) async fn run(self) -> Result<Exit, Failure> {
        let path = self.config.clone();
        // The file may be a pipe without a writer.
        let read = spawn_blocking(move || Config::load(&path)).await;
        let read = read.map_err(|error| Failure::permanent(error.to_string()))?;
        let report = match read {
            Ok(config) => self.report(self.selected(config)?).await,
            Err(problems) => Report::new(configuration::invalid(&problems), 0),
        };
        if self.json {
            report.json().iter().try_for_each(|row| output::data(&row.to_string()))?;
            output::summary(&report.summary());
        } else {
            report.lines().iter().try_for_each(|line| output::data(line))?;
        }
        Ok(report.exit())
    }

    /// The configuration with the selected profiles only.
    fn selected(&self, mut config: Config) -> Result<Config, Failure> {
        let known = |name: &String| config.profiles.iter().any(|it| it.name.as_str() == name);
        if let Some(unknown) = self.profiles.iter().find(|name| !known(name)) {
            let names: Vec<_> = config.profiles.iter().map(|it| it.name.to_string()).collect();
            let names = names.join(", ");
            let unknown = unknown.escape_debug();
            return Err(Failure::usage(format!(
                "unknown profile \"{unknown}\"; expected one of {names}"
            )));
        }
        if !self.profiles.is_empty() {
            config.profiles.retain(|it| self.profiles.iter().any(|name| it.name.as_str() == name));
        }
        Ok(config)
    }

    async fn report(&self, config: Config) -> Report {
        let requests = if self.offline { 0 } else { profiles::requests(&config) };
        if !self.offline && requests > 0 {
            let plural = if requests == 1 { "" } else { "s" };
            let note = format!("requesting {requests} grant{plural}: one per profile");
            MessageFormat::of(self.json).note(&note);
        }
        let mut rows = configuration::valid(&self.config, &config);
        let context = Arc::new(Context { config, clock: Clock::system() });
        rows.extend(checks::run(&context, self.offline, self.json).await);
        Report::new(rows, requests)
    }
}
