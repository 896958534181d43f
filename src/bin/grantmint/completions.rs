//! `grantmint completions`: shell completion scripts.

use clap::{Args, Command, ValueEnum};
use clap_complete::generate;

use crate::{exit::Exit, failure::Failure, output};

/// Print a shell completion script
#[derive(Debug, Args)]
pub(crate) struct CompletionsCommand {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    /// source <(grantmint completions bash)
    Bash,
    /// grantmint completions zsh > "${fpath[1]}/_grantmint"
    Zsh,
    /// grantmint completions fish > ~/.config/fish/completions/grantmint.fish
    Fish,
}

impl CompletionsCommand {
    /// Prints the script for `command`, the whole command line.
    pub(crate) fn run(&self, mut command: Command) -> Result<Exit, Failure> {
        let shell = match self.shell {
            Shell::Bash => clap_complete::Shell::Bash,
            Shell::Zsh => clap_complete::Shell::Zsh,
            Shell::Fish => clap_complete::Shell::Fish,
        };
        let mut script = Vec::new();
        generate(shell, &mut command, "grantmint", &mut script);
        output::data(String::from_utf8_lossy(&script).trim_end())?;
        Ok(Exit::Done)
    }
}
