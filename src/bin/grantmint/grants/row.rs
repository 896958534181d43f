//! A grant as a row of a table, and as JSON.

use grantmint::{
    clock::WallTime,
    rpc::proto::{
        Grant,
        grant::{RefreshState, State},
    },
};
use prost_types::Timestamp;

use crate::{
    client::{utc, wall},
    terminal::{Color, Paint},
};

/// The number of columns.
const CELLS: usize = 7;

/// The space between two columns.
const GAP: &str = "  ";

/// A row of the table.
pub(super) struct Row {
    cells: [String; CELLS],
    colors: [Option<Color>; CELLS],
}

impl Row {
    pub(super) fn header() -> Self {
        let names = ["GRANT", "STATE", "FETCHED", "EXPIRES", "NEXT TRY", "REFRESH", "LAST FAULT"];
        Self { cells: names.map(str::to_owned), colors: [None; CELLS] }
    }

    /// The grant at `now`.
    pub(super) fn of(grant: &Grant, now: WallTime) -> Self {
        let (state, refresh) = states(grant);
        let relative = |at: Option<&Timestamp>| at.map_or_else(dash, |at| from_now(wall(at), now));
        // During an attempt the server reports the attempt's start.
        let started = grant.next_attempt_time.as_ref().is_some_and(|at| wall(at) <= now);
        let next =
            if started { "now".to_owned() } else { relative(grant.next_attempt_time.as_ref()) };
        Self {
            cells: [
                grant.name.clone(),
                state_word(state),
                relative(grant.fetch_time.as_ref()),
                relative(grant.end_time.as_ref()),
                next,
                refresh_word(refresh),
                fault(grant),
            ],
            colors: [None, state_color(state), None, None, None, refresh_color(refresh), None],
        }
    }

    fn widths(&self) -> [usize; CELLS] {
        self.cells.each_ref().map(|cell| cell.chars().count())
    }
}

/// The width of each column.
#[derive(Clone)]
pub(super) struct Columns([usize; CELLS]);

impl Default for Columns {
    fn default() -> Self {
        // Wide enough for the usual values, so that columns do not move as values change.
        let widest = ["", "expired", "119 s ago", "in 119 s", "in 119 s", "throttled", ""];
        let mut widths = Row::header().widths();
        for (width, widest) in widths.iter_mut().zip(widest) {
            *width = widest.len().max(*width);
        }
        Self(widths)
    }
}

impl Columns {
    /// Widens the columns to fit these rows.
    pub(super) fn fit(&mut self, rows: &[Row]) {
        for row in rows {
            for (width, needed) in self.0.iter_mut().zip(row.widths()) {
                *width = needed.max(*width);
            }
        }
    }

    /// Narrows the first column until a line fits `width`, but keeps it readable.
    pub(super) fn narrow(&mut self, width: usize) {
        const READABLE: usize = 16;
        let all = self.0.iter().sum::<usize>() + GAP.len() * (CELLS - 1);
        let [first, ..] = &mut self.0;
        *first = first.saturating_sub(all.saturating_sub(width)).max(READABLE.min(*first));
    }

    /// The row as a line of any width.
    pub(super) fn line(&self, row: &Row, paint: Paint) -> String {
        self.line_within(row, paint, usize::MAX)
    }

    /// The row as a line of up to `width` characters, without counting colors.
    pub(super) fn line_within(&self, row: &Row, paint: Paint, width: usize) -> String {
        let mut line = String::new();
        let mut left = width;
        for (at, ((cell, color), width)) in row.cells.iter().zip(row.colors).zip(self.0).enumerate()
        {
            let last = at + 1 == CELLS;
            let cell = if at == 0 { shorten(cell, width) } else { cell.clone() };
            let padded = if last { cell } else { format!("{cell:<width$}{GAP}") };
            let text: String = padded.chars().take(left).collect();
            left -= text.chars().count();
            line.push_str(&match color {
                Some(color) => paint.with(color, &text),
                None => text,
            });
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Shortens a name to `width` characters by cutting its middle.
fn shorten(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return name.to_owned();
    }
    let tail = width.saturating_sub(1) / 2;
    let head = width.saturating_sub(1) - tail;
    let head: String = name.chars().take(head).collect();
    let tail: String = name.chars().skip(length - tail).collect();
    format!("{head}…{tail}")
}

/// The grant as a JSON object; unknown values are null.
pub(super) fn as_json(grant: &Grant) -> String {
    let (state, refresh) = states(grant);
    let known = |at: Option<&Timestamp>| at.map(|at| utc(Some(at)));
    serde_json::json!({
        "name": grant.name,
        "state": state_word(state),
        "refresh_state": refresh_word(refresh),
        "generation": grant.generation,
        "fetch_time": known(grant.fetch_time.as_ref()),
        "end_time": known(grant.end_time.as_ref()),
        "next_attempt_time": known(grant.next_attempt_time.as_ref()),
        "last_fault": grant.last_fault.as_ref().map(|fault| &fault.reason),
        "consecutive_failures": grant.consecutive_failures,
    })
    .to_string()
}

fn states(grant: &Grant) -> (State, RefreshState) {
    let state = State::try_from(grant.state).unwrap_or_default();
    (state, RefreshState::try_from(grant.refresh_state).unwrap_or_default())
}

fn state_word(state: State) -> String {
    state.as_str_name().trim_start_matches("STATE_").to_lowercase()
}

fn refresh_word(state: RefreshState) -> String {
    state.as_str_name().trim_start_matches("REFRESH_STATE_").to_lowercase()
}

const fn state_color(state: State) -> Option<Color> {
    match state {
        State::Live => Some(Color::Green),
        State::Pending => Some(Color::Yellow),
        State::Expired => Some(Color::Red),
        State::Unspecified => None,
    }
}

const fn refresh_color(state: RefreshState) -> Option<Color> {
    match state {
        RefreshState::Ok => Some(Color::Green),
        RefreshState::Retrying | RefreshState::Throttled => Some(Color::Yellow),
        RefreshState::Rejected => Some(Color::Red),
        RefreshState::Unspecified => None,
    }
}

/// The last fault, and the count of consecutive failures.
fn fault(grant: &Grant) -> String {
    match &grant.last_fault {
        None => dash(),
        Some(fault) if grant.consecutive_failures > 1 => {
            format!("{} x{}", fault.reason, grant.consecutive_failures)
        }
        Some(fault) => fault.reason.clone(),
    }
}

/// The distance of `at` from `now`, in seconds, minutes or hours.
fn from_now(at: WallTime, now: WallTime) -> String {
    let ahead = at > now;
    let seconds = if ahead { at.since(now) } else { now.since(at) }.as_secs();
    let length = match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3_600),
    };
    if ahead { format!("in {length}") } else { format!("{length} ago") }
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests {
    use std::slice;

    use grantmint::rpc::proto::grant::Fault;

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as the fields are")]
    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn grant() -> Grant {
        Grant {
            name: "profiles/demo/grants/VJ0123456789abcdef0123456789abcdef".to_owned(),
            state: State::Live.into(),
            refresh_state: RefreshState::Retrying.into(),
            generation: 1,
            fetch_time: at(1_000),
            end_time: at(1_060),
            next_attempt_time: at(1_053),
            last_fault: Some(Fault { class: 1, reason: "HTTP_STATUS_503".to_owned() }),
            consecutive_failures: 3,
        }
    }

    fn line(grant: &Grant, now: i64, width: usize) -> String {
        let row = Row::of(grant, WallTime::from_unix_seconds(now));
        let mut columns = Columns::default();
        columns.fit(slice::from_ref(&row));
        columns.narrow(width);
        columns.line_within(&row, Paint::new(false), width)
    }

    #[test]
    fn row_shows_age_expiry_next_attempt_and_last_fault() {
        assert_eq!(
            line(&grant(), 1_052, 200),
            "profiles/demo/grants/VJ0123456789abcdef0123456789abcdef  live     52 s ago   \
             in 8 s    in 1 s    retrying   HTTP_STATUS_503 x3"
        );
        let unknown = Grant { name: "n".to_owned(), ..Grant::default() };
        assert_eq!(
            line(&unknown, 0, 200).split_whitespace().collect::<Vec<_>>(),
            ["n", "unspecified", "-", "-", "-", "unspecified", "-"]
        );
    }

    #[test]
    fn running_attempt_is_shown_as_now() {
        assert!(line(&grant(), 1_053, 200).contains("  now  "));
    }

    #[test]
    fn narrow_terminal_shortens_the_name_before_the_line() {
        let narrow = line(&grant(), 1_052, 100);
        assert!(narrow.starts_with("profiles/demo/…23456789abcdef  live  "), "{narrow}");
        assert!(narrow.ends_with("HTTP_STATUS_503 x3") && narrow.chars().count() == 100);
        let cut = line(&grant(), 1_052, 40);
        assert!(cut.starts_with("profiles…9abcdef  live ") && cut.chars().count() <= 40, "{cut}");
        assert_eq!(line(&grant(), 1_052, 0), "");
    }

    #[test]
    fn colors_do_not_count_as_width() {
        let row = Row::of(&grant(), WallTime::from_unix_seconds(1_052));
        let columns = Columns::default();
        let [plain, colored] =
            [false, true].map(|on| columns.line_within(&row, Paint::new(on), 90));
        assert!(colored.contains("\x1b[32mlive"), "{colored:?}");
        let stripped = colored.replace("\x1b[32m", "").replace("\x1b[33m", "");
        assert_eq!(stripped.replace("\x1b[0m", "").trim_end(), plain);
    }

    #[test]
    fn long_times_are_in_minutes_and_hours() {
        let now = WallTime::from_unix_seconds(100_000);
        for (at, shown) in [
            (99_881, "119 s ago"),
            (99_880, "2 min ago"),
            (107_199, "in 119 min"),
            (107_200, "in 2 h"),
            (100_000, "0 s ago"),
        ] {
            assert_eq!(from_now(WallTime::from_unix_seconds(at), now), shown);
        }
    }
}
