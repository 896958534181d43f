//! `grantmint grants --watch`: watches the grants until Ctrl-C, across server restarts.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use console::Term;
use grantmint::{
    clock::{Clock, WallTime},
    rpc::proto::{
        Grant, WatchGrantsRequest, WatchGrantsResponse, grant_service_client::GrantServiceClient,
        watch_grants_request::Target,
    },
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};
use tonic::Status;

use super::{
    frame::{self, Frame},
    row::{Columns, Row, as_json},
};
use crate::{
    client::{ServerArgs, clock_time},
    exit::Exit,
    failure::{Failure, is_transient, reason, retry_delay},
    output::{self, MessageFormat, StdoutError, seconds},
    terminal::{Paint, can_redraw},
};

/// The pause before a retry, if the server does not set one.
const PAUSE: Duration = Duration::from_secs(1);

/// An event of a watch.
enum Event {
    /// The snapshot, or a change.
    Changed(WatchGrantsResponse),
    /// The server is unreachable; the watch retries after the pause.
    Lost(Status, Duration),
    /// A permanent failure.
    Failed(Status),
}

/// Watches until Ctrl-C, which is a success.
pub(super) async fn follow(
    server: &ServerArgs,
    profile: Option<String>,
    json: bool,
) -> Result<Exit, Failure> {
    let signals = |error| Failure::permanent(format!("cannot handle signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let (events, mut received) = mpsc::channel(16);
    tokio::spawn(watch(server.clone(), profile, events));
    let mut display = Display::new(server.url(), json);
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            event = received.recv() => match event {
                Some(Event::Changed(changed)) => display.changed(&changed)?,
                Some(Event::Lost(status, pause)) => display.lost(&status, pause)?,
                Some(Event::Failed(status)) => return Err(status.into()),
                None => return Err(Failure::permanent("the watch stopped unexpectedly")),
            },
            _ = tick.tick() => display.tick()?,
            _ = interrupt.recv() => return Ok(Exit::Done),
            _ = terminate.recv() => return Ok(Exit::Done),
        }
    }
}

/// Watches and reconnects, until the receiver is dropped or a failure is permanent. A failure of
/// the first connection is permanent: it is probably a wrong URL.
async fn watch(server: ServerArgs, profile: Option<String>, events: mpsc::Sender<Event>) {
    let mut seen = false;
    loop {
        let ended = watch_once(&server, profile.clone(), &events, &mut seen).await;
        let Err(status) = ended else { return };
        if !seen || !is_transient(&status) {
            let _ = events.send(Event::Failed(status)).await;
            return;
        }
        let pause = retry_delay(&status).unwrap_or(PAUSE);
        if reason(&status).as_deref() == Some("STREAM_LIFETIME_REACHED") {
            sleep(pause).await;
            continue;
        }
        if events.send(Event::Lost(status, pause)).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}

/// Watches over one connection. Returns `Ok` once the receiver is dropped.
async fn watch_once(
    server: &ServerArgs,
    profile: Option<String>,
    events: &mpsc::Sender<Event>,
    seen: &mut bool,
) -> Result<(), Status> {
    let mut client = GrantServiceClient::new(server.connect().await?);
    let request = WatchGrantsRequest { target: profile.map(Target::Profile) };
    let mut changes = client.watch_grants(request).await?.into_inner();
    while let Some(changed) = changes.message().await? {
        *seen = true;
        if events.send(Event::Changed(changed)).await.is_err() {
            return Ok(());
        }
    }
    Err(Status::unavailable("the server ended the watch"))
}

/// What the watch shows, and how.
struct Display<'a> {
    server: &'a str,
    format: MessageFormat,
    grants: BTreeMap<String, Grant>,
    /// The names in an incomplete snapshot; none outside one. Older grants stay until the
    /// snapshot is complete.
    snapshot: Option<BTreeSet<String>>,
    /// None while the server is connected.
    lost: Option<Lost>,
    shape: Shape,
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
        Self {
            server,
            format: MessageFormat::of(json),
            grants: BTreeMap::new(),
            snapshot: None,
            lost: None,
            shape,
        }
    }

    fn changed(&mut self, changed: &WatchGrantsResponse) -> Result<(), StdoutError> {
        if self.lost.take().is_some() {
            self.note("reconnected to the server");
        }
        let first = self.grants.is_empty();
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
        self.snapshot = None;
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
        if self.grants.is_empty() { Ok(()) } else { self.draw() }
    }

    /// Writes a note, unless a table shows it.
    fn note(&self, note: &str) {
        if !matches!(self.shape, Shape::Table(_)) {
            self.format.note(note);
        }
    }

    fn draw(&mut self) -> Result<(), StdoutError> {
        let Shape::Table(frame) = &mut self.shape else { return Ok(()) };
        let Self { grants, server, .. } = self;
        let lost = self.lost.as_ref().map(|lost| lost.message.as_str());
        frame.draw(&frame::View { grants, server, lost }, Clock::system().now().wall)
    }
}
