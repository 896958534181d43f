//! The live table, redrawn in place.
//!
//! The cursor always rests, visible, at the start of the line below the table, and the terminal's
//! modes stay unchanged: nothing needs to be restored, however the program exits.

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
    terminal::{Color, Paint, Size},
};

/// The content of a live table.
pub(super) struct View<'a> {
    pub(super) grants: &'a BTreeMap<String, Grant>,
    pub(super) server: &'a str,
    /// Why the server is unreachable; none while it is connected.
    pub(super) lost: Option<&'a str>,
}

impl View<'_> {
    /// The lines at `now`, fitted to a terminal of this size.
    fn lines(&self, now: WallTime, size: Size, paint: Paint) -> Vec<String> {
        let rows: Vec<_> = self.grants.values().map(|grant| Row::of(grant, now)).collect();
        let mut columns = Columns::default();
        columns.fit(&rows);
        columns.narrow(size.columns);
        let line = |row: &Row| columns.line_within(row, paint, size.columns);

        let clip = |text: &str| text.chars().take(size.columns).collect::<String>();
        let mut lines = vec![
            clip(&format!("{} at {} UTC; Ctrl-C to quit", self.server, clock_time(now, 0))),
            line(&Row::header()),
        ];
        // One row is for the cursor, and one each for hidden grants and a lost server.
        let room = size.rows.saturating_sub(lines.len() + 3).max(1);
        lines.extend(rows.iter().take(room).map(line));
        if rows.is_empty() {
            lines.push(clip("no grants"));
        }
        if rows.len() > room {
            let hidden = rows.len() - room;
            lines.push(clip(&format!("and {hidden} more; filter with --profile NAME")));
        }
        if let Some(lost) = self.lost {
            let lost = lost.lines().next().unwrap_or_default();
            lines.push(paint.with(Color::Red, &clip(lost)));
        }
        lines
    }
}

/// The frame on the terminal.
pub(super) struct Frame {
    paint: Paint,
    size: Size,
    drawn: usize,
}

impl Frame {
    pub(super) fn new() -> Self {
        Self { paint: Paint::stdout(), size: Size::of_stdout(), drawn: 0 }
    }

    /// Draws over the previous frame.
    pub(super) fn draw(&mut self, view: &View<'_>, now: WallTime) -> Result<(), StdoutError> {
        let text = self.text(view, now, Size::of_stdout());
        let mut out = io::stdout().lock();
        Ok(out.write_all(text.as_bytes()).and_then(|()| out.flush())?)
    }

    fn text(&mut self, view: &View<'_>, now: WallTime, size: Size) -> String {
        let mut text = String::new();
        if size != self.size {
            // The terminal has rewrapped the previous frame, so its position is unknown.
            text.push_str("\x1b[H\x1b[2J");
        } else if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}A\r", self.drawn);
        }
        let lines = view.lines(now, size, self.paint);
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

    fn view<'a>(grants: &'a BTreeMap<String, Grant>, lost: Option<&'a str>) -> View<'a> {
        View { grants, server: "http://127.0.0.1:50051", lost }
    }

    fn now() -> WallTime {
        WallTime::from_unix_seconds(1_700_000_000)
    }

    #[test]
    fn table_fits_the_terminal_and_counts_hidden_grants() {
        for (count, lost) in [(0, None), (1, None), (200, None), (200, Some("lost"))] {
            let grants = grants(count);
            let lines = view(&grants, lost).lines(now(), SIZE, Paint::new(false));
            assert!(lines.len() < SIZE.rows, "{lines:#?}");
            assert!(lines.iter().all(|line| line.chars().count() <= SIZE.columns), "{lines:#?}");
            let hidden =
                lines.iter().any(|line| line == "and 195 more; filter with --profile NAME");
            assert_eq!(hidden, count == 200, "{lines:#?}");
            assert_eq!(lines.last().is_some_and(|line| line == "lost"), lost.is_some());
        }
    }

    #[test]
    fn table_is_drawn_over_the_previous_one() {
        let mut frame = Frame { paint: Paint::new(false), size: SIZE, drawn: 0 };
        let (two, one) = (grants(2), grants(1));
        let first = frame.text(&view(&two, None), now(), SIZE);
        assert!(first.starts_with("http://127.0.0.1:50051 at 22:13:20 UTC; "), "{first:?}");
        assert_eq!(first.matches('\n').count(), 4);
        let second = frame.text(&view(&one, None), now(), SIZE);
        assert!(second.starts_with("\x1b[4A\r") && second.ends_with("\n\x1b[J"), "{second:?}");
        assert_eq!(second.matches('\n').count(), 3);
        let resized = frame.text(&view(&one, None), now(), Size { columns: 50, rows: 10 });
        assert!(resized.starts_with("\x1b[H\x1b[2J"), "{resized:?}");
    }

    #[test]
    fn table_sets_no_terminal_mode() {
        let mut frame = Frame { paint: Paint::new(true), size: SIZE, drawn: 0 };
        let grants = grants(3);
        let text = frame.text(&view(&grants, Some("lost")), now(), SIZE);
        assert!(!text.contains("\x1b[?"), "a private mode is set: {text:?}");
        let (on, off) = (text.matches("\x1b[31m").count(), text.matches("\x1b[0m").count());
        assert_eq!((on, off), (1, 1), "a color is not reset: {text:?}");
    }
}
