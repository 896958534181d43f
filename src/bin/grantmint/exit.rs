//! How a command ends.

use std::{fmt::Write as _, process::ExitCode};

/// The exit codes; the words here are those of `--help` and of `docs/commands.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// All is done.
    Done = 0,
    /// Trying the same again will not help.
    Failed = 1,
    /// As clap has it.
    Misused = 2,
    /// Trying the same again may help.
    TryLater = 3,
    /// All was written, but not all of it can be used any longer.
    PastUse = 4,
}

impl Exit {
    const ALL: [Self; 5] = [Self::Done, Self::Failed, Self::Misused, Self::TryLater, Self::PastUse];

    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }

    const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed, and trying again will not help",
            Self::Misused => "wrong usage",
            Self::TryLater => "the server could not serve it now, try again later",
            Self::PastUse => "bulk wrote every token, but some are past their use already",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table that `--help` ends with.
pub(crate) fn table() -> String {
    let mut table = "Exit codes:\n".to_owned();
    for exit in Exit::ALL {
        let _ = writeln!(table, "  {}  {}", exit.code(), exit.meaning());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_have_the_same_table() {
        let docs = include_str!("../../../docs/commands.md");
        let rows = docs.lines().filter_map(|line| {
            let (code, meaning) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
            Some((code.parse::<u8>().ok()?, meaning))
        });
        let told: Vec<_> = rows.collect();
        assert_eq!(told, Exit::ALL.map(|exit| (exit.code(), exit.meaning())));
    }
}
