//! The `grantmint` command: the service, its sandbox, and the commands that talk to it.

#![warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod audit_hash;
mod bearer;
mod bench;
mod bulk;
mod check;
mod chunks;
mod client;
mod completions;
mod dial;
mod environment;
mod exit;
mod failure;
mod grants;
mod health;
mod inspect;
mod man;
mod mint;
mod output;
mod refresh;
mod sandbox;
mod selftest;
mod serve;
mod signals;
mod terminal;

use std::{
    ffi::OsString,
    hint::black_box,
    io::{self, Write},
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::{exit::Exit, failure::Failure, output::Voice};

/// Mints unique client tokens around one shared, short-lived upstream grant.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = exit::table())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the service.
    Serve(serve::ServeCommand),
    /// Runs the emulated upstream alone.
    Sandbox(sandbox::SandboxCommand),
    /// Validates a configuration and says what each profile promises.
    Check(check::CheckCommand),
    /// Mints one token.
    Mint(mint::MintCommand),
    /// Mints many tokens.
    Bulk(bulk::BulkCommand),
    /// Shows the state of the grants.
    Grants(grants::GrantsCommand),
    /// Refreshes a grant now, for example after the upstream's key was fixed.
    Refresh(refresh::RefreshCommand),
    /// Reports whether a server is ready, for container health checks.
    Health(health::HealthCommand),
    /// Measures how much a server serves, and how soon.
    Bench(bench::BenchCommand),
    /// Says what a token holds and what of it ends when.
    Inspect(inspect::InspectCommand),
    /// Prints what the audit log calls an identity.
    AuditHash(audit_hash::AuditHashCommand),
    /// Makes the vendors' own tokens again, and measures how fast tokens are signed.
    Selftest(selftest::SelftestCommand),
    /// Writes a script that completes this command line in a shell.
    Completions(completions::CompletionsCommand),
    /// Writes a manual page for each command.
    Man(man::ManCommand),
}

impl Command {
    async fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Serve(command) => command.run().await,
            Self::Sandbox(command) => command.run().await,
            Self::Check(command) => command.run(),
            Self::Mint(command) => command.run().await,
            Self::Bulk(command) => command.run().await,
            Self::Grants(command) => command.run().await,
            Self::Refresh(command) => command.run().await,
            Self::Health(command) => command.run().await,
            Self::Bench(command) => command.run().await,
            Self::Inspect(command) => command.run(),
            Self::AuditHash(command) => command.run(),
            Self::Selftest(command) => command.run(),
            Self::Completions(command) => command.run(),
            Self::Man(command) => command.run(),
        }
    }
}

/// More than a chunk of a bulk needs on its way.
const WORTH_KEEPING: usize = 1024 * 1024;

/// Lets glibc keep what is freed, up to about this much. It gives back to the system all over
/// 128 KiB, which a bulk frees and asks for again with every chunk; but once a larger mapped
/// block is freed it takes that for the program's habit (mallopt(3), `M_MMAP_THRESHOLD`).
fn keep_freed_memory() {
    drop(black_box(Vec::<u8>::with_capacity(WORTH_KEEPING)));
}

fn main() -> ExitCode {
    keep_freed_memory();
    // Known before the command line is, so that wrong usage is told in it too.
    let words: Vec<OsString> = std::env::args_os().collect();
    let voice = Voice::of(words.iter().any(|argument| argument == "--json"));
    let parsed = environment::parse(Cli::command(), &words);
    let command = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli.command,
        Err(error) if error.use_stderr() && voice == Voice::Json => {
            return end(voice, Err(Failure::from_usage(&error)));
        }
        Err(error) if error.use_stderr() => error.exit(),
        Err(help) => return end(voice, show(&help)),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return end(voice, Err(Failure::for_good(format!("cannot start: {error}")))),
    };
    let ended = runtime.block_on(command.run());
    // A name lookup that hangs must not hold the exit.
    runtime.shutdown_background();
    end(voice, ended)
}

/// Writes what `--help` or `--version` asked for.
fn show(help: &clap::Error) -> Result<Exit, Failure> {
    help.print().and_then(|()| io::stdout().flush()).map_err(Failure::from_stdout)?;
    Ok(Exit::Done)
}

fn end(voice: Voice, ended: Result<Exit, Failure>) -> ExitCode {
    let exit = ended.unwrap_or_else(|failure| {
        if failure.exit() != Exit::Done {
            voice.fail(&failure);
        }
        failure.exit()
    });
    exit.into()
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Cli;

    /// The commands and flags of the docs are those that there are.
    const DOCS: &str = include_str!("../../../docs/commands.md");

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_line_of_the_docs_is_one() {
        let lines = DOCS.lines().filter_map(|line| line.strip_prefix("$ grantmint "));
        let mut seen = 0;
        for line in lines {
            let words = line.split([';', '|', '>', '<']).next().unwrap_or_default();
            let words = ["grantmint"].into_iter().chain(words.split_whitespace());
            let parsed = Cli::try_parse_from(words).map_err(|error| error.kind());
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
            seen += 1;
        }
        assert!(seen > 10, "the docs show {seen} commands");
    }

    #[test]
    fn every_command_and_flag_is_in_the_docs() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(DOCS.contains(&format!("\n## {name}\n")), "{name}");
            for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
                assert!(DOCS.contains(&format!("--{flag}")), "{name} --{flag}");
            }
        }
    }
}
