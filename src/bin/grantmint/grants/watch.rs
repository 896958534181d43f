//! `grantmint grants --watch`: watches the grants until Ctrl-C, across server restarts.

use std::{
    collections::{BTreeMap, BTreeSet},
    pin::pin,
    time::Duration,
};

use console::Term;
use futures_util::{Stream, StreamExt, stream};
use grantmint::{
    clock::{Clock, WallTime},
    rpc::proto::{Grant, WatchGrantsResponse},
};
use grantmint_client::{Error as CallError, Target, Watch};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tonic::Status;

use super::{
    frame::{self, Frame},
    row::{Columns, Row, as_json},
};
use crate::{
    client::{ServerArgs, clock_time},
    exit::Exit,
    failure::Failure,
    output::{self, MessageFormat, StdoutError, seconds},
    terminal::{Paint, can_redraw},
};

/// Watches until Ctrl-C, which is a success. A failure before the first update is permanent: it is
/// probably a wrong URL.
pub(super) async fn follow(
    server: &ServerArgs,
    profile: Option<String>,
    json: bool,
) -> Result<Exit, Failure> {
    let signals = |error| Failure::permanent(format!("cannot handle signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let (report, mut lost) = mpsc::unbounded_channel();
    let target = profile.map_or(Target::All, Target::Profile);
    let watch = Watch::new(server.connect_lazily()?, target).on_resume(move |error, pause| {
        let _ = report.send((error.clone(), pause));
    });
    let mut updates = pin!(patient_after_the_first(watch));
    let mut display = Display::new(server.url(), json);
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            // A report comes before the update that follows it.
            biased;
            _ = interrupt.recv() => return Ok(Exit::Done),
            _ = terminate.recv() => return Ok(Exit::Done),
            Some((error, pause)) = lost.recv() => {
                display.known.restart();
                if error.reason() != Some("STREAM_LIFETIME_REACHED") {
                    display.lost(&server.explained(error), pause)?;
                }
            }
            update = updates.next() => match update {
                Some(Ok(update)) => display.changed(&update)?,
                Some(Err(error)) => return Err(server.explained(error).into()),
                None => return Err(Failure::permanent("the watch stopped unexpectedly")),
            },
            _ = tick.tick() => display.tick()?,
        }
    }
}

/// The updates of a watch that is resumed forever once it has received one.
fn patient_after_the_first(
    watch: Watch,
) -> impl Stream<Item = Result<WatchGrantsResponse, CallError>> {
    stream::try_unfold(watch.patience(Duration::ZERO), async |mut watch| {
        let update = watch.next().await?;
        Ok(Some((update, watch.patience(Duration::MAX))))
    })
}

/// What the watch shows, and how.
struct Display<'a> {
    server: &'a str,
    format: MessageFormat,
    known: Known,
    /// None while the server is connected.
    lost: Option<Lost>,
    shape: Shape,
}

/// The grants, as far as they are known.
#[derive(Default)]
struct Known {
    grants: BTreeMap<String, Grant>,
    /// The names in an incomplete snapshot; none outside one. Older grants stay until the
    /// snapshot is complete.
    snapshot: Option<BTreeSet<String>>,
}

impl Known {
    fn change(&mut self, changed: &WatchGrantsResponse) {
        let named = changed.grants.iter().map(|grant| (grant.name.clone(), grant.clone()));
        self.grants.extend(named);
        if changed.snapshot {
            let sent = changed.grants.iter().map(|grant| grant.name.clone());
            self.snapshot.get_or_insert_default().extend(sent);
        }
        // An older server does not mark its snapshot as complete; the next change completes it.
        if (changed.snapshot_complete || !changed.snapshot)
            && let Some(names) = self.snapshot.take()
        {
            self.grants.retain(|name, _| names.contains(name));
        }
    }

    /// The next update starts a new snapshot.
    fn restart(&mut self) {
        self.snapshot = None;
    }
}

/// An unreachable server. The grants shown are those from before.
struct Lost {
    since: WallTime,
    message: String,
}

enum Shape {
    /// A table on a terminal.
    Table(Frame),
    /// A line for each change, prefixed with the time.
    Lines(Columns),
    /// A JSON object for each change.
    Objects,
}

impl<'a> Display<'a> {
    fn new(server: &'a str, json: bool) -> Self {
        let shape = if json {
            Shape::Objects
        } else if can_redraw(&Term::stdout()) {
            Shape::Table(Frame::new())
        } else {
            Shape::Lines(Columns::default())
        };
        Self { server, format: MessageFormat::of(json), known: Known::default(), lost: None, shape }
    }

    fn changed(&mut self, changed: &WatchGrantsResponse) -> Result<(), StdoutError> {
        if self.lost.take().is_some() {
            self.note("reconnected to the server");
        }
        let first = self.known.grants.is_empty();
        self.known.change(changed);
        let now = Clock::system().now().wall;
        match &mut self.shape {
            Shape::Table(_) => self.draw(),
            Shape::Objects => {
                changed.grants.iter().try_for_each(|grant| output::data(&as_json(grant)))
            }
            Shape::Lines(columns) => {
                let paint = Paint::new(false);
                let rows: Vec<_> = changed.grants.iter().map(|it| Row::of(it, now)).collect();
                columns.fit(&rows);
                if first {
                    let header = columns.line(&Row::header(), paint);
                    output::data(&format!("{:<12}  {header}", "TIME"))?;
                }
                let time = clock_time(now, 3);
                rows.iter().try_for_each(|row| {
                    output::data(&format!("{time}  {}", columns.line(row, paint)))
                })
            }
        }
    }

    fn lost(&mut self, status: &Status, pause: Duration) -> Result<(), StdoutError> {
        let known = self.lost.as_ref().map(|lost| lost.since);
        let since = known.unwrap_or_else(|| Clock::system().now().wall);
        let (time, why) = (clock_time(since, 0), status.message());
        let pause = seconds(pause);
        let message = format!("disconnected since {time} UTC: {why}; retrying in {pause}");
        // Lines stay on the screen, so one note is enough.
        if known.is_none() {
            self.note(&message);
        }
        self.lost = Some(Lost { since, message });
        self.draw()
    }

    fn tick(&mut self) -> Result<(), StdoutError> {
        // Before the first response there is nothing to show.
        if self.known.grants.is_empty() { Ok(()) } else { self.draw() }
    }

    /// Writes a note, unless a table shows it.
    fn note(&self, note: &str) {
        if !matches!(self.shape, Shape::Table(_)) {
            self.format.note(note);
        }
    }

    fn draw(&mut self) -> Result<(), StdoutError> {
        let Shape::Table(frame) = &mut self.shape else { return Ok(()) };
        let (grants, server) = (&self.known.grants, self.server);
        let lost = self.lost.as_ref().map(|lost| lost.message.as_str());
        frame.draw(&frame::View { grants, server, lost }, Clock::system().now().wall)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(names: &[&str], snapshot_complete: bool) -> WatchGrantsResponse {
        let grant = |name: &&str| Grant { name: (*name).to_owned(), ..Grant::default() };
        let grants = names.iter().map(grant).collect();
        WatchGrantsResponse { grants, snapshot: true, snapshot_complete }
    }

    #[test]
    fn snapshot_that_was_cut_off_does_not_count() {
        let mut known = Known::default();
        known.change(&snapshot(&["a"], false));
        known.restart();
        known.change(&snapshot(&["b"], true));
        assert_eq!(known.grants.keys().collect::<Vec<_>>(), ["b"]);
    }
}
