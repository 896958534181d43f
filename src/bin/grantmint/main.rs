//! The `grantmint` command: the service, its sandbox, and the commands that talk to it.

#![warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod audit_hash;
mod bench;
mod bulk;
mod check;
mod client;
mod completions;
mod dial;
mod doctor;
#[cfg(test)]
mod documented;
mod environment;
mod exit;
mod failure;
mod grants;
mod health;
mod init;
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

use crate::{
    exit::Exit,
    failure::Failure,
    output::{MessageFormat, StdoutError},
};

/// Mint client tokens for video, voice and other real-time providers.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, after_help = exit::table())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

// Without docs on a variant, `--help` shows those of its arguments.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeCommand),
    Sandbox(sandbox::SandboxCommand),
    Check(check::CheckCommand),
    Init(init::InitCommand),
    Doctor(doctor::DoctorCommand),
    Mint(mint::MintCommand),
    Bulk(bulk::BulkCommand),
    Grants(grants::GrantsCommand),
    Refresh(refresh::RefreshCommand),
    Health(health::HealthCommand),
    Bench(bench::BenchCommand),
    Inspect(inspect::InspectCommand),
    AuditHash(audit_hash::AuditHashCommand),
    Selftest(selftest::SelftestCommand),
    Completions(completions::CompletionsCommand),
    Man(man::ManCommand),
}

impl Command {
    async fn run(self) -> Result<Exit, Failure> {
        match self {
            Self::Serve(command) => command.run().await,
            Self::Sandbox(command) => command.run().await,
            Self::Check(command) => command.run(),
            Self::Init(command) => command.run(),
            Self::Doctor(command) => command.run().await,
            Self::Mint(command) => command.run().await,
            Self::Bulk(command) => command.run().await,
            Self::Grants(command) => command.run().await,
            Self::Refresh(command) => command.run().await,
            Self::Health(command) => command.run().await,
            Self::Bench(command) => command.run().await,
            Self::Inspect(command) => command.run(),
            Self::AuditHash(command) => command.run(),
            Self::Selftest(command) => command.run(),
            Self::Completions(command) => command.run(Cli::command()),
            Self::Man(command) => command.run(),
        }
    }
}

/// More than one chunk of a bulk call needs.
const WORTH_KEEPING: usize = 1024 * 1024;

/// Lets glibc keep freed blocks of up to about this size. By default it returns blocks over
/// 128 KiB to the system, and a bulk call frees and allocates such blocks with every chunk. Freeing
/// a larger mapped block raises that threshold (mallopt(3), `M_MMAP_THRESHOLD`).
fn keep_freed_memory() {
    drop(black_box(Vec::<u8>::with_capacity(WORTH_KEEPING)));
}

fn main() -> ExitCode {
    keep_freed_memory();
    // Decided before the command line is parsed, so that usage errors have the same format.
    let words: Vec<OsString> = std::env::args_os().collect();
    let format = MessageFormat::of(words.iter().any(|argument| argument == "--json"));
    let parsed = environment::parse(Cli::command(), &words);
    let command = match parsed.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli.command,
        Err(error) if error.use_stderr() && format == MessageFormat::Json => {
            return end(format, Err(Failure::from_usage(&error)));
        }
        Err(error) if error.use_stderr() => error.exit(),
        Err(help) => return end(format, show(&help)),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return end(format, Err(Failure::permanent(format!("cannot start: {error}"))));
        }
    };
    let ended = runtime.block_on(command.run());
    // A hanging name lookup must not delay the exit.
    runtime.shutdown_background();
    end(format, ended)
}

/// Prints the output of `--help` or `--version`.
fn show(help: &clap::Error) -> Result<Exit, Failure> {
    help.print().and_then(|()| io::stdout().flush()).map_err(StdoutError)?;
    Ok(Exit::Done)
}

fn end(format: MessageFormat, ended: Result<Exit, Failure>) -> ExitCode {
    let exit = ended.unwrap_or_else(|failure| {
        if failure.exit() != Exit::Done {
            failure.report(format);
        }
        failure.exit()
    });
    exit.into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    const DOCS: &str = include_str!("../../../docs/commands.md");

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
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
