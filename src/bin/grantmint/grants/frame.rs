//! The live table: drawn again and again over itself.
//!
//! The cursor always rests at the start of the line below, visible, and no mode of the terminal
//! is touched: whatever ends the program, nothing is left to restore.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write},
};

use grantmint::{clock::WallTime, rpc::proto::Grant};

use super::row::{Columns, Row};
use crate::{
    client::clock_time,
    output::StdoutError,
    terminal::{Colour, Paint, Size},
};

/// What a live table shows.
pub(super) struct Shown<'a> {
    pub(super) grants: &'a BTreeMap<String, Grant>,
    /// Where they are from.
    pub(super) server: &'a str,
    /// Why nothing newer is known; none while the server is there.
    pub(super) lost: Option<&'a str>,
}

impl Shown<'_> {
    /// The lines at `now`, on a terminal of this size: none wider, fewer than its rows.
    fn lines(&self, now: WallTime, size: Size, paint: Paint) -> Vec<String> {
        let rows: Vec<_> = self.grants.values().map(|grant| Row::of(grant, now)).collect();
        let mut columns = Columns::default();
        columns.fit(&rows);
        columns.narrow(size.columns);
        let line = |row: &Row| columns.line_within(row, paint, size.columns);

        let clip = |text: &str| text.chars().take(size.columns).collect::<String>();
        let mut lines = vec![
            clip(&format!("{} at {} UTC; Ctrl-C ends it", self.server, clock_time(now, 0))),
            line(&Row::header()),
        ];
        // The last row is the cursor's, the one before may tell what does not fit or is lost.
        let room = size.rows.saturating_sub(lines.len() + 3).max(1);
        lines.extend(rows.iter().take(room).map(line));
        if rows.is_empty() {
            lines.push(clip("no grants"));
        }
        if rows.len() > room {
            let hidden = rows.len() - room;
            lines.push(clip(&format!("and {hidden} more; choose with --profile NAME")));
        }
        if let Some(lost) = self.lost {
            let lost = lost.lines().next().unwrap_or_default();
            lines.push(paint.with(Colour::Red, &clip(lost)));
        }
        lines
    }
}

/// What is on the terminal.
pub(super) struct Frame {
    paint: Paint,
    size: Size,
    drawn: usize,
}

impl Frame {
    pub(super) fn new() -> Self {
        Self { paint: Paint::stdout(), size: Size::of_stdout(), drawn: 0 }
    }

    /// Draws over what was drawn before.
    pub(super) fn draw(&mut self, shown: &Shown<'_>, now: WallTime) -> Result<(), StdoutError> {
        let text = self.text(shown, now, Size::of_stdout());
        let mut out = io::stdout().lock();
        Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
    }

    fn text(&mut self, shown: &Shown<'_>, now: WallTime, size: Size) -> String {
        let mut text = String::new();
        if size != self.size {
            // What was drawn has been wrapped anew: nobody knows where it begins.
            text.push_str("\x1b[H\x1b[2J");
        } else if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A\r", self.drawn);
        }
        let lines = shown.lines(now, size, self.paint);
        for line in &lines {
            text.push_str(line);
            text.push_str("\x1b[K\n");
        }
        text.push_str("\x1b[J");
        (self.size, self.drawn) = (size, lines.len());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Size = Size { columns: 60, rows: 10 };

    fn grants(count: usize) -> BTreeMap<String, Grant> {
        let named = |index| format!("profiles/demo/grants/{index:03}");
        (0..count)
            .map(|index| (named(index), Grant { name: named(index), ..Grant::default() }))
            .collect()
    }

    fn shown<'a>(grants: &'a BTreeMap<String, Grant>, lost: Option<&'a str>) -> Shown<'a> {
        Shown { grants, server: "http://127.0.0.1:50051", lost }
    }

    fn now() -> WallTime {
        WallTime::from_unix_seconds(1_700_000_000)
    }

    #[test]
    fn a_table_leaves_the_cursor_a_row_and_says_what_does_not_fit() {
        for (count, lost) in [(0, None), (1, None), (200, None), (200, Some("lost"))] {
            let grants = grants(count);
            let lines = shown(&grants, lost).lines(now(), SIZE, Paint::new(false));
            assert!(lines.len() < SIZE.rows, "{lines:#?}");
            assert!(lines.iter().all(|line| line.chars().count() <= SIZE.columns), "{lines:#?}");
            let hidden =
                lines.iter().any(|line| line == "and 195 more; choose with --profile NAME");
            assert_eq!(hidden, count == 200, "{lines:#?}");
            assert_eq!(lines.last().is_some_and(|line| line == "lost"), lost.is_some());
        }
    }

    #[test]
    fn a_table_is_drawn_over_the_one_before() {
        let mut frame = Frame { paint: Paint::new(false), size: SIZE, drawn: 0 };
        let (two, one) = (grants(2), grants(1));
        let first = frame.text(&shown(&two, None), now(), SIZE);
        assert!(first.starts_with("http://127.0.0.1:50051 at 22:13:20 UTC; "), "{first:?}");
        assert_eq!(first.matches('\n').count(), 4);
        let second = frame.text(&shown(&one, None), now(), SIZE);
        assert!(second.starts_with("\x1b[4A\r") && second.ends_with("\n\x1b[J"), "{second:?}");
        assert_eq!(second.matches('\n').count(), 3);
        let resized = frame.text(&shown(&one, None), now(), Size { columns: 50, rows: 10 });
        assert!(resized.starts_with("\x1b[H\x1b[2J"), "{resized:?}");
    }

    #[test]
    fn nothing_is_done_to_the_terminal_that_would_have_to_be_undone() {
        let mut frame = Frame { paint: Paint::new(true), size: SIZE, drawn: 0 };
        let grants = grants(3);
        let text = frame.text(&shown(&grants, Some("lost")), now(), SIZE);
        assert!(!text.contains("\x1b[?"), "no private mode: {text:?}");
        let (on, off) = (text.matches("\x1b[31m").count(), text.matches("\x1b[0m").count());
        assert_eq!((on, off), (1, 1), "every colour ends on its line: {text:?}");
    }
}
