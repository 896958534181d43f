//! `grantmint man`: the manual pages.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::Cli;
use crate::{exit::Exit, failure::Failure};

/// Write a manual page for each command
#[derive(Debug, Args)]
pub(crate) struct ManCommand {
    /// The directory to write to
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl ManCommand {
    pub(crate) fn run(&self) -> Result<Exit, Failure> {
        let written = std::fs::create_dir_all(&self.directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.directory));
        written.map_err(|error| {
            let directory = self.directory.display();
            Failure::permanent(format!("cannot write to {directory}: {error}"))
        })?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let dir = TempDir::new().unwrap();
        let directory = dir.path().join("man1");
        ManCommand { directory: directory.clone() }.run().unwrap();
        for command in Cli::command().get_subcommands() {
            let page = directory.join(format!("grantmint-{}.1", command.get_name()));
            assert!(page.is_file(), "{}", page.display());
        }
    }
}
