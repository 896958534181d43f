//! Colors and the size of a terminal, through the crate `console`.
//!
//! Whether to color is decided here: `console` takes an empty `NO_COLOR` for a set one, against
//! <https://no-color.org>, and colors pipes where `CLICOLOR_FORCE` is set.

use std::{env, ffi::OsStr};

use console::{Style, Term, is_dumb};

/// A color and its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Color {
    /// Failed or expired.
    Red,
    /// Healthy.
    Green,
    /// Pending, or failing for now.
    Yellow,
}

/// Colors text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Colors or not.
    pub(crate) const fn new(on: bool) -> Self {
        Self { on }
    }

    /// For standard output.
    pub(crate) fn stdout() -> Self {
        Self::of(&Term::stdout())
    }

    /// For standard error.
    pub(crate) fn stderr() -> Self {
        Self::of(&Term::stderr())
    }

    fn of(terminal: &Term) -> Self {
        Self::new(may_color(can_redraw(terminal), env::var_os("NO_COLOR").as_deref()))
    }

    /// The text in this color.
    pub(crate) fn with(self, color: Color, text: &str) -> String {
        let style = Style::new().force_styling(self.on);
        let style = match color {
            Color::Red => style.red(),
            Color::Green => style.green(),
            Color::Yellow => style.yellow(),
        };
        style.apply_to(text).to_string()
    }
}

fn may_color(terminal: bool, no_color: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty)
}

/// Whether this is a terminal whose cursor can be moved.
pub(crate) fn can_redraw(terminal: &Term) -> bool {
    terminal.is_term() && !is_dumb()
}

/// Columns and rows of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
}

impl Size {
    /// The size of the terminal at standard output; 80 by 24 if it is unknown.
    pub(crate) fn of_stdout() -> Self {
        let (rows, columns) = Term::stdout().size();
        Self { columns: columns.into(), rows: rows.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_need_a_terminal_and_no_no_color() {
        assert!(may_color(true, None) && may_color(true, Some(OsStr::new(""))));
        assert!(!may_color(true, Some(OsStr::new("1"))) && !may_color(false, None));
        assert_eq!(Paint::new(true).with(Color::Red, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint::new(false).with(Color::Red, "x"), "x");
    }
}
