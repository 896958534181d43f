//! Exit codes.

use std::{fmt::Write as _, process::ExitCode};

/// The exit codes. `--help` and `docs/commands.md` have the same table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Success.
    Done = 0,
    /// Failed; a retry will not help.
    Failed = 1,
    /// Wrong usage, as in clap.
    Misused = 2,
    /// Failed; a retry may help.
    TryLater = 3,
    /// Every token was written, but some are past their use-by time.
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
            Self::Done => "success",
            Self::Failed => "failed; a retry will not help",
            Self::Misused => "wrong usage",
            Self::TryLater => "temporarily unavailable; retry later",
            Self::PastUse => "bulk wrote every token, but some are past their use-by time",
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
    fn docs_have_the_same_table() {
        let docs = include_str!("../../../docs/commands.md");
        let rows = docs.lines().filter_map(|line| {
            let (code, meaning) = line.strip_prefix("| ")?.strip_suffix(" |")?.split_once(" | ")?;
            Some((code.parse::<u8>().ok()?, meaning))
        });
        let documented: Vec<_> = rows.collect();
        assert_eq!(documented, Exit::ALL.map(|exit| (exit.code(), exit.meaning())));
    }
}
