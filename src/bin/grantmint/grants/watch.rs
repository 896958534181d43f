//! `grantmint grants --watch`: follows the grants until Ctrl-C, across failures of the server.

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
    frame::{Frame, Shown},
    row::{Columns, Row, as_json},
};
use crate::{
    client::{ServerArgs, clock_time},
    exit::Exit,
    failure::{Failure, heals, reason, retry_delay},
    output::{self, StdoutError, Voice, seconds},
    terminal::{Paint, can_redraw},
};

/// The pause before the server is tried again, where it does not say one itself.
const PAUSE: Duration = Duration::from_secs(1);

/// What happens to a watch.
enum Event {
    /// The first answer, or a change.
    Changed(WatchGrantsResponse),
    /// The server is gone for a while; it is tried again after the pause.
    Lost(Status, Duration),
    /// It will not be better.
    Failed(Status),
}

/// Follows until Ctrl-C, which is how a watch rightly ends.
pub(super) async fn follow(
    server: &ServerArgs,
    profile: Option<String>,
    json: bool,
) -> Result<Exit, Failure> {
    let signals = |error| Failure::for_good(format!("cannot take signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(signals)?;
    let (events, mut coming) = mpsc::channel(16);
    tokio::spawn(watch(server.clone(), profile, events));
    let mut view = View::new(server.url(), json);
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        tokio::select! {
            event = coming.recv() => match event {
                Some(Event::Changed(changed)) => view.changed(&changed)?,
                Some(Event::Lost(status, pause)) => view.lost(&status, pause)?,
                Some(Event::Failed(status)) => return Err(status.into()),
                None => return Err(Failure::for_good("the watch broke off")),
            },
            _ = tick.tick() => view.tick()?,
            _ = interrupt.recv() => return Ok(Exit::Done),
            _ = terminate.recv() => return Ok(Exit::Done),
        }
    }
}

/// Watches, again and again, until nobody listens or it is in vain. A server that was not there
/// to begin with is more likely a wrong URL.
async fn watch(server: ServerArgs, profile: Option<String>, events: mpsc::Sender<Event>) {
    let mut seen = false;
    loop {
        let ended = watch_once(&server, profile.clone(), &events, &mut seen).await;
        let Err(status) = ended else { return };
        if !seen || !heals(&status) {
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

/// Ok where nobody listens any longer.
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

/// How the watch is shown.
struct View<'a> {
    server: &'a str,
    voice: Voice,
    grants: BTreeMap<String, Grant>,
    /// The names in the snapshot that is on its way; none outside one. What was shown before
    /// stays until it is complete.
    snapshot: Option<BTreeSet<String>>,
    /// None while the server is there.
    lost: Option<Lost>,
    shape: Shape,
}

/// A server that is gone: what is shown is how it was then.
struct Lost {
    since: WallTime,
    words: String,
}

enum Shape {
    /// A table on a terminal.
    Table(Frame),
    /// A line for each change, with the time before it.
    Lines(Columns),
    /// A JSON object for each change.
    Objects,
}

impl<'a> View<'a> {
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
            voice: Voice::of(json),
            grants: BTreeMap::new(),
            snapshot: None,
            lost: None,
            shape,
        }
    }

    fn changed(&mut self, changed: &WatchGrantsResponse) -> Result<(), StdoutError> {
        if self.lost.take().is_some() {
            self.note("the server is back");
        }
        let first = self.grants.is_empty();
        let named = changed.grants.iter().map(|grant| (grant.name.clone(), grant.clone()));
        self.grants.extend(named);
        if changed.snapshot {
            let sent = changed.grants.iter().map(|grant| grant.name.clone());
            self.snapshot.get_or_insert_default().extend(sent);
        }
        // An older server does not say that its snapshot is complete; a change follows it.
        if (changed.snapshot_complete || !changed.snapshot)
            && let Some(there) = self.snapshot.take()
        {
            self.grants.retain(|name, _| there.contains(name));
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
        let words = format!("no server since {time} UTC: {why}; again in {}", seconds(pause));
        // Once is enough where each line stays.
        if known.is_none() {
            self.note(&words);
        }
        self.lost = Some(Lost { since, words });
        self.draw()
    }

    fn tick(&mut self) -> Result<(), StdoutError> {
        // Before the first answer there is nothing to show, and it may be a failure.
        if self.grants.is_empty() { Ok(()) } else { self.draw() }
    }

    /// Says it where no table shows it.
    fn note(&self, note: &str) {
        if !matches!(self.shape, Shape::Table(_)) {
            self.voice.note(note);
        }
    }

    fn draw(&mut self) -> Result<(), StdoutError> {
        let Shape::Table(frame) = &mut self.shape else { return Ok(()) };
        let Self { grants, server, .. } = self;
        let shown =
            Shown { grants, server, lost: self.lost.as_ref().map(|lost| lost.words.as_str()) };
        frame.draw(&shown, Clock::system().now().wall)
    }
}
