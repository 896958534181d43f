//! What only a terminal gets: colours, and lines that are written over.

use std::{
    env,
    io::{self, IsTerminal},
};

/// A colour that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// Broken.
    Red,
    /// Well.
    Green,
    /// On its way, or in trouble that heals.
    Yellow,
}

impl Colour {
    const fn code(self) -> u8 {
        match self {
            Self::Red => 31,
            Self::Green => 32,
            Self::Yellow => 33,
        }
    }
}

/// Colours text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Colours or not.
    pub(crate) const fn new(on: bool) -> Self {
        Self { on }
    }

    /// For standard output.
    pub(crate) fn stdout() -> Self {
        Self::new(may_colour(moves(&io::stdout()), env::var_os("NO_COLOR").as_deref()))
    }

    /// For standard error.
    pub(crate) fn stderr() -> Self {
        Self::new(may_colour(moves(&io::stderr()), env::var_os("NO_COLOR").as_deref()))
    }

    /// The text in this colour.
    pub(crate) fn with(self, colour: Colour, text: &str) -> String {
        if self.on { format!("\x1b[{}m{text}\x1b[0m", colour.code()) } else { text.to_owned() }
    }
}

/// <https://no-color.org>: any value but none.
fn may_colour(terminal: bool, no_color: Option<&std::ffi::OsStr>) -> bool {
    terminal && no_color.is_none_or(std::ffi::OsStr::is_empty)
}

/// Whether the stream is a terminal whose cursor can be moved.
pub(crate) fn moves(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Size {
    /// Of the terminal at standard output; 80 by 24 where it does not say.
    pub(crate) fn of_stdout() -> Self {
        let told = rustix::termios::tcgetwinsize(io::stdout()).ok();
        told.filter(|told| told.ws_col > 0 && told.ws_row > 0).map_or(
            Self { columns: 80, rows: 24 },
            |told| Self { columns: told.ws_col.into(), rows: told.ws_row.into() },
        )
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn colours_are_for_terminals_whose_owner_wants_them() {
        assert!(may_colour(true, None) && may_colour(true, Some(OsStr::new(""))));
        assert!(!may_colour(true, Some(OsStr::new("1"))) && !may_colour(false, None));
        assert_eq!(Paint::new(true).with(Colour::Red, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint::new(false).with(Colour::Red, "x"), "x");
    }
}
