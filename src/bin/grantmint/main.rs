//! The `grantmint` command: the service, its sandbox, and the commands that talk to it.

#![warn(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod bulk;
mod check;
mod client;
mod grants;
mod inspect;
mod mint;
mod output;
mod sandbox;
mod serve;

use std::{hint::black_box, process::ExitCode};

use clap::{Parser, Subcommand};

/// Mints unique client tokens around one shared, short-lived upstream grant.
///
/// Exit codes: 0 done; 1 failed, and trying again will not help; 2 wrong usage; 3 the server
/// could not serve it now, try again later.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
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
    /// Shows how the grants fare.
    Grants(grants::GrantsCommand),
    /// Says what a token holds and what of it ends when.
    Inspect(inspect::InspectCommand),
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
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::failed(&format!("cannot start: {error}")),
    };
    let code = runtime.block_on(async {
        match command {
            Command::Serve(command) => command.run().await,
            Command::Sandbox(command) => command.run().await,
            Command::Check(command) => command.run(),
            Command::Mint(command) => command.run().await,
            Command::Bulk(command) => command.run().await,
            Command::Grants(command) => command.run().await,
            Command::Inspect(command) => command.run(),
        }
    });
    // A name lookup that hangs must not hold the exit.
    runtime.shutdown_background();
    code
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
